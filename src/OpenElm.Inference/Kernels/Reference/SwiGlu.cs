namespace OpenElm.Inference.Kernels.Reference;

internal static class SwiGlu
{
    /// <inheritdoc cref="SwiGluKernel"/>
    public static void Run(Span<float> gate, ReadOnlySpan<float> up)
    {
        for (int i = 0; i < gate.Length; i++)
        {
            float silu = gate[i] / (1 + MathF.Exp(-gate[i]));
            gate[i] = up.IsEmpty ? silu : silu * up[i];
        }
    }
}
