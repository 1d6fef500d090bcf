using System.Runtime.Intrinsics;

namespace OpenElm.Quantization;

/// <summary>How scales are stored: rounding to that type, and its numbers next to a given one.</summary>
/// <param name="DroppedBits">How many of a float's fraction bits the type does not have.</param>
internal readonly record struct ScalePrecision(int DroppedBits)
{
    /// <summary>Half precision.</summary>
    public static readonly ScalePrecision Half = new(13);

    /// <summary>The numbers that bfloat16 and half precision have in common.</summary>
    public static readonly ScalePrecision EitherHalf = new(16);

    const int FractionBits = 23;
    const float SmallestStep = 1 / 16777216f, SmallestNormal = 1 / 16384f; // of half precision: 2^−24, 2^−14

    // The largest half, without the bits that are dropped.
    float Largest => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(65504f) >> DroppedBits << DroppedBits);

    /// <summary>Rounds to the nearest, ties to even; numbers beyond the range become 65536 or more.</summary>
    /// <param name="values">Numbers.</param>
    /// <returns>The rounded numbers.</returns>
    public Vector512<float> Round(Vector512<float> values)
    {
        Vector512<uint> bits = values.AsUInt32(), odd = (bits >> DroppedBits) & Vector512<uint>.One;
        uint mask = (1u << DroppedBits) - 1;
        Vector512<float> rounded = ((bits + Vector512.Create(mask >> 1) + odd) & Vector512.Create(~mask)).AsSingle();

        // Half's subnormal numbers are multiples of 2^−24, as are the floats from 0.5 to 1.
        Vector512<float> subnormal = rounded + Vector512.Create(0.75f) - Vector512.Create(0.75f);
        return Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Abs(values), Vector512.Create(SmallestNormal)), subnormal, rounded);
    }

    /// <summary>Rounds one number.</summary>
    /// <param name="value">The number.</param>
    /// <returns>The rounded number.</returns>
    public float Round(float value) => Round(Vector512.Create(value))[0];

    /// <summary>Numbers of this precision around one, of its sign and finite.</summary>
    /// <param name="value">The number.</param>
    /// <param name="neighbours">Filled, in the order of their magnitudes.</param>
    public void Neighbours(float value, Span<float> neighbours)
    {
        float magnitude = MathF.Min(MathF.Abs(Round(value)), Largest);
        float step = MathF.Max(SmallestStep, magnitude == 0 ? 0 : MathF.ScaleB(1, MathF.ILogB(magnitude) - FractionBits + DroppedBits));
        for (int i = 0; i < neighbours.Length; i++)
        {
            neighbours[i] = MathF.CopySign(Math.Clamp(magnitude + ((i - (neighbours.Length / 2)) * step), 0, Largest), value);
        }
    }
}
