using System.Numerics;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>RoPE of one head in place: element k and k + headDim/2 turn by the angle of column k.</summary>
internal static class Rotation
{
    /// <summary>Turns forward, or back (the gradient) with the sign −1.</summary>
    /// <param name="head">[headDim].</param>
    /// <param name="cos">[headDim / 2].</param>
    /// <param name="sin">[headDim / 2].</param>
    /// <param name="sign">1 or −1.</param>
    public static void Apply(Span<float> head, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin, float sign)
    {
        int half = head.Length / 2, k = 0;
        Span<float> first = head[..half], second = head[half..];
        for (; k <= half - Vector<float>.Count; k += Vector<float>.Count)
        {
            Vector<float> a = new(first[k..]), b = new(second[k..]), c = new(cos[k..]), s = new Vector<float>(sin[k..]) * sign;
            ((a * c) - (b * s)).CopyTo(first[k..]);
            ((b * c) + (a * s)).CopyTo(second[k..]);
        }

        for (; k < half; k++)
        {
            (float a, float b, float s) = (first[k], second[k], sin[k] * sign);
            (first[k], second[k]) = ((a * cos[k]) - (b * s), (b * cos[k]) + (a * s));
        }
    }
}
