using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using OpenElm.Checkpoints;

namespace OpenElm.Inference.Tiles;

/// <summary>Rows of floats → the form a kernel wants. The same for every kernel set, and for every width of vector bit by bit.</summary>
internal static unsafe class ActivationPacking
{
    // Adding 1.5 · 2^23 leaves a float no bits behind the point: the sum is rounded to the nearest integer, ties to even.
    const float Rounder = 12582912;

    /// <summary>Converts one row.</summary>
    /// <param name="x">[columns]; where a block is not finite, its products become NaN.</param>
    /// <param name="columns">The width; for <see cref="ActivationForm.Int8"/> whole blocks of 32.</param>
    /// <param name="form">The form.</param>
    /// <param name="format">The matrix it will be multiplied with: its zero point goes into the blocks.</param>
    /// <param name="to">The row.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Convert(float* x, int columns, ActivationForm form, TileFormat format, byte* to)
    {
        switch (form)
        {
            case ActivationForm.F32:
                new ReadOnlySpan<float>(x, columns).CopyTo(new Span<float>(to, columns));
                break;
            case ActivationForm.BF16:
                BFloat16(x, columns, (ushort*)to);
                break;
            default:
                int zeroPoint = format.ZeroPoint();
                bool halves = format == TileFormat.Int6K;
                for (int block = 0; block < columns / 32; block++)
                {
                    Int8(x + (block * 32), zeroPoint, halves, (ActivationBlock*)to + block);
                }

                break;
        }
    }

    /// <summary>As <see cref="FloatEncoding.ToBFloat16"/>, which has the reasons; a NaN may become an infinity here, and is found in the logits all the same.</summary>
    /// <param name="first">8 numbers.</param>
    /// <param name="second">8 more.</param>
    /// <returns>The 16, rounded to nearest, ties to even.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<ushort> BFloat16(Vector256<float> first, Vector256<float> second)
    {
        return Vector256.Narrow(Rounded(first.AsUInt32()), Rounded(second.AsUInt32()));

        static Vector256<uint> Rounded(Vector256<uint> bits) => (bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One)) >>> 16;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void BFloat16(float* x, int columns, ushort* to)
    {
        int c = 0;
        for (; c + 16 <= columns; c += 16)
        {
            BFloat16(Vector256.Load(x + c), Vector256.Load(x + c + 8)).Store(to + c);
        }

        for (; c < columns; c++)
        {
            to[c] = FloatEncoding.ToBFloat16(x[c]);
        }

        if (columns % 2 == 1)
        {
            to[columns] = 0;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Int8(float* x, int zeroPoint, bool halves, ActivationBlock* to)
    {
        Vector256<float> x0 = Vector256.Load(x), x1 = Vector256.Load(x + 8), x2 = Vector256.Load(x + 16), x3 = Vector256.Load(x + 24);
        Vector256<float> largest8 = Vector256.Max(Vector256.Max(Vector256.Abs(x0), Vector256.Abs(x1)), Vector256.Max(Vector256.Abs(x2), Vector256.Abs(x3)));
        float largest = 0;
        for (int i = 0; i < 8; i++)
        {
            largest = MathF.Max(largest, largest8[i]);
        }

        float inverse = largest > 0 ? 127 / largest : 0;
        if (!float.IsFinite(inverse))
        {
            inverse = 0; // numbers below 1e-36: their products vanish
        }

        Vector256<int> q0 = Quantised(x0), q1 = Quantised(x1), q2 = Quantised(x2), q3 = Quantised(x3);
        Vector256.Narrow(Vector256.Narrow(q0, q1), Vector256.Narrow(q2, q3)).Store(to->Q);
        int first = Vector256.Sum(q0 + q1), second = Vector256.Sum(q2 + q3);
        to->Scale = !float.IsFinite(largest) ? float.NaN : inverse == 0 ? 0 : largest / 127; // what is no number must stay visible
        to->ScaledSum = to->Scale * (first + second);
        to->Start = -zeroPoint * (halves ? first : first + second);
        to->SecondStart = halves ? -zeroPoint * second : 0;

        Vector256<int> Quantised(Vector256<float> v) =>
            ((v * Vector256.Create(inverse)) + Vector256.Create(Rounder)).AsInt32() - Vector256.Create(Rounder).AsInt32();
    }
}
