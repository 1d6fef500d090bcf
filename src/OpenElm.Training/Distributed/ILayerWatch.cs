namespace OpenElm.Training.Distributed;

/// <summary>Told about every layer as passes over the model come to it and leave it.</summary>
internal interface ILayerWatch
{
    /// <summary>A pass over the model begins: what is outside of the layers must be there.</summary>
    void BeforeModel();

    /// <summary>A layer is about to be computed; its weights must be there.</summary>
    /// <param name="layer">Which.</param>
    void BeforeForward(int layer);

    /// <summary>A layer was computed.</summary>
    /// <param name="layer">Which.</param>
    void AfterForward(int layer);

    /// <summary>A layer is about to be computed again and differentiated; its weights must be there.</summary>
    /// <param name="layer">Which.</param>
    void BeforeBackward(int layer);

    /// <summary>The gradients of a layer's weights are complete.</summary>
    /// <param name="layer">Which.</param>
    void AfterBackward(int layer);
}
