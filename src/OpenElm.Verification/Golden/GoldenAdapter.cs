namespace OpenElm.Verification.Golden;

/// <summary>What an <c>adapters-*</c> file gives a runtime for each kind of adapter: one linear layer y = W x with an adapter, without dropout.</summary>
/// <param name="Base">[out, in]: W.</param>
/// <param name="A">[rank, in].</param>
/// <param name="B">[out, rank].</param>
/// <param name="Magnitude">[out]: DoRA's lengths, or null for LoRA.</param>
/// <param name="Alpha">α; the product B·A is scaled by α/rank.</param>
/// <param name="X">[tokens, in].</param>
/// <param name="OutputGradient">[tokens, out]: the gradient of the loss with respect to y.</param>
public sealed record GoldenAdapter(
    GoldenTensor Base, GoldenTensor A, GoldenTensor B, GoldenTensor? Magnitude, double Alpha, GoldenTensor X, GoldenTensor OutputGradient)
{
    /// <summary>Rows of A.</summary>
    public int Rank => (int)A.Shape[0];

    /// <summary>Columns of W.</summary>
    public int Inputs => (int)A.Shape[1];

    /// <summary>Rows of W.</summary>
    public int Outputs => (int)B.Shape[0];
}

/// <summary>What a runtime answers to a <see cref="GoldenAdapter"/>.</summary>
/// <param name="Y">[tokens, out], the adapter applied beside W.</param>
/// <param name="Merged">[out, in]: W with the adapter folded in.</param>
public sealed record GoldenAdapterOutput(float[] Y, float[] Merged)
{
    /// <summary>Gradients by their key in the file (<c>x</c>, <c>A</c>, <c>B</c>, <c>magnitude</c>), or null if the runtime has none.</summary>
    public IReadOnlyDictionary<string, float[]>? Gradients { get; init; }
}
