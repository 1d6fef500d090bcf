using System.Runtime.InteropServices;

namespace OpenElm.Checkpoints;

/// <summary>Writes floats as the types that weights are stored in; halves are rounded to the nearest, ties to even.</summary>
public static class FloatEncoding
{
    /// <summary>Writes floats.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="values">The floats.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <param name="name">The tensor, for messages.</param>
    /// <exception cref="OpenElmException">A number is too large for the type, or weights are not stored in it.</exception>
    public static void Write(Stream stream, ReadOnlySpan<float> values, DType dtype, string name)
    {
        ArgumentNullException.ThrowIfNull(stream);
        switch (dtype)
        {
            case DType.F32:
                stream.Write(MemoryMarshal.AsBytes(values));
                break;
            case DType.BF16:
                Span<ushort> upperHalves = new ushort[values.Length];
                for (int i = 0; i < values.Length; i++)
                {
                    upperHalves[i] = ToBFloat16(values[i]);
                    Refuse(float.IsFinite(values[i]) && (upperHalves[i] & 0x7fff) == 0x7f80, values[i], name, dtype);
                }

                stream.Write(MemoryMarshal.AsBytes(upperHalves));
                break;
            case DType.F16:
                Span<Half> halves = new Half[values.Length];
                for (int i = 0; i < values.Length; i++)
                {
                    halves[i] = (Half)values[i];
                    Refuse(float.IsFinite(values[i]) && Half.IsInfinity(halves[i]), values[i], name, dtype);
                }

                stream.Write(MemoryMarshal.AsBytes(halves));
                break;
            default:
                throw new OpenElmException($"Weights are not written as {dtype}; choose F32, BF16 or F16.");
        }
    }

    /// <summary>Rounds to bfloat16.</summary>
    /// <param name="value">The float.</param>
    /// <returns>Its upper half, rounded to the nearest, ties to even; NaN stays NaN.</returns>
    public static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }

    static void Refuse(bool tooLarge, float value, string name, DType dtype)
    {
        if (tooLarge)
        {
            throw new OpenElmException($"{name} holds {value}, which is too large for {dtype}; choose BF16 or F32.");
        }
    }
}
