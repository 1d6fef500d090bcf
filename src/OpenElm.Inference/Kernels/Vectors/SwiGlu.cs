using System.Runtime.Intrinsics;

namespace OpenElm.Inference.Kernels.Vectors;

internal static class SwiGlu
{
    /// <inheritdoc cref="SwiGluKernel"/>
    public static void Run(Span<float> gate, ReadOnlySpan<float> up)
    {
        int i = 0;
        for (; i + Vector256<float>.Count <= gate.Length; i += Vector256<float>.Count)
        {
            var z = Vector256.Create<float>(gate[i..]);
            Vector256<float> silu = z / (Vector256<float>.One + Exponential.Of(-z));
            (up.IsEmpty ? silu : silu * Vector256.Create(up[i..])).CopyTo(gate[i..]);
        }

        for (; i < gate.Length; i++)
        {
            float silu = gate[i] / (1 + MathF.Exp(-gate[i]));
            gate[i] = up.IsEmpty ? silu : silu * up[i];
        }
    }
}
