using System.Runtime.InteropServices;

namespace OpenElm.Checkpoints;

/// <summary>Floats ↔ the bytes of a stored type.</summary>
public static class FloatEncoding
{
    /// <summary>Rounds floats to a stored type, to the nearest, ties to even.</summary>
    /// <param name="values">The numbers.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <returns>Little-endian bytes.</returns>
    /// <exception cref="OpenElmException">Weights cannot be stored in the type.</exception>
    public static byte[] Encode(ReadOnlySpan<float> values, DType dtype)
    {
        byte[] bytes = new byte[checked(values.Length * dtype.Size())];
        switch (dtype)
        {
            case DType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case DType.BF16:
                Span<ushort> upperHalves = MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan());
                for (int i = 0; i < values.Length; i++)
                {
                    upperHalves[i] = ToBFloat16(values[i]);
                }

                break;
            case DType.F16:
                Span<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan());
                for (int i = 0; i < values.Length; i++)
                {
                    halves[i] = (Half)values[i];
                }

                break;
            default:
                throw new OpenElmException($"Weights cannot be stored as {dtype}; choose F32, BF16 or F16.");
        }

        return bytes;
    }

    /// <summary>Rounds to the nearest bfloat16, ties to even; NaN stays NaN.</summary>
    /// <param name="value">The number.</param>
    /// <returns>The upper half of its bits, rounded.</returns>
    public static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>Refuses numbers that a type cannot hold: rounded, they would be infinite.</summary>
    /// <param name="values">The numbers.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <param name="name">The tensor, for the message.</param>
    /// <exception cref="OpenElmException">A finite number is too large.</exception>
    public static void RequireRange(ReadOnlySpan<float> values, DType dtype, string name)
    {
        float limit = dtype switch
        {
            DType.F16 => 65520, // halfway between the largest half and the next power of two: rounds to infinity
            DType.BF16 => BitConverter.UInt32BitsToSingle(0x7F7F8000),
            _ => float.PositiveInfinity,
        };
        foreach (float value in values)
        {
            if (float.IsFinite(value) && Math.Abs(value) >= limit)
            {
                throw new OpenElmException($"{name} holds {value}, which is too large for {dtype}; choose BF16 or F32.");
            }
        }
    }
}
