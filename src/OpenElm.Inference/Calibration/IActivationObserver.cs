namespace OpenElm.Inference.Calibration;

/// <summary>Sees the activations of a model while it runs, as floats; a model without an observer pays nothing.</summary>
internal interface IActivationObserver
{
    /// <summary>Called just before a product.</summary>
    /// <param name="weight">CoreNet's name of the matrix.</param>
    /// <param name="x">[seq, width].</param>
    /// <param name="width">Columns of the matrix.</param>
    void ObserveProduct(string weight, ReadOnlySpan<float> x, int width);

    /// <summary>Called after a layer.</summary>
    /// <param name="layer">The layer, from 0.</param>
    /// <param name="x">[seq, modelDim]: the residual stream.</param>
    void ObserveResidual(int layer, ReadOnlySpan<float> x);
}
