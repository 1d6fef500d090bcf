using System.Numerics;

namespace OpenElm.Inference.Kernels.Vectors;

internal static class SwiGlu
{
    /// <inheritdoc cref="SwiGluKernel"/>
    public static void Run(Span<float> gate, ReadOnlySpan<float> up)
    {
        int i = 0;
        for (; i + Vector<float>.Count <= gate.Length; i += Vector<float>.Count)
        {
            Vector<float> z = new(gate[i..]);
            Vector<float> silu = z / (Vector<float>.One + Vector.Exp(-z));
            (up.IsEmpty ? silu : silu * new Vector<float>(up[i..])).CopyTo(gate[i..]);
        }

        for (; i < gate.Length; i++)
        {
            float silu = gate[i] / (1 + MathF.Exp(-gate[i]));
            gate[i] = up.IsEmpty ? silu : silu * up[i];
        }
    }
}
