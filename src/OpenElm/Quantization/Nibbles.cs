using System.Buffers.Binary;

namespace OpenElm.Quantization;

/// <summary>
/// Levels of 4 and 5 bits in a block of 32, as GGUF packs them: byte j holds the low four bits of element j in its lower half
/// and of element j + 16 in its upper half; the fifth bits are one 32-bit number, element j at bit j.
/// </summary>
internal static class Nibbles
{
    const int Half = 16;

    /// <summary>Packs the low four bits.</summary>
    /// <param name="levels">[32] levels.</param>
    /// <param name="packed">[16] bytes.</param>
    public static void Pack(ReadOnlySpan<byte> levels, Span<byte> packed)
    {
        for (int j = 0; j < Half; j++)
        {
            packed[j] = (byte)((levels[j] & 15) | (levels[j + Half] << 4));
        }
    }

    /// <summary>Unpacks four bits.</summary>
    /// <param name="packed">[16] bytes.</param>
    /// <param name="levels">[32] levels, 0 to 15.</param>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> levels)
    {
        for (int j = 0; j < Half; j++)
        {
            levels[j] = (byte)(packed[j] & 15);
            levels[j + Half] = (byte)(packed[j] >> 4);
        }
    }

    /// <summary>Packs the fifth bits.</summary>
    /// <param name="levels">[32] levels, 0 to 31.</param>
    /// <param name="packed">[4] bytes.</param>
    public static void PackFifthBits(ReadOnlySpan<byte> levels, Span<byte> packed)
    {
        uint bits = 0;
        for (int j = 0; j < levels.Length; j++)
        {
            bits |= (uint)(levels[j] >> 4) << j;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(packed, bits);
    }

    /// <summary>Adds the fifth bits to levels of four.</summary>
    /// <param name="packed">[4] bytes.</param>
    /// <param name="levels">[32] levels.</param>
    public static void AddFifthBits(ReadOnlySpan<byte> packed, Span<byte> levels)
    {
        uint bits = BinaryPrimitives.ReadUInt32LittleEndian(packed);
        for (int j = 0; j < levels.Length; j++)
        {
            levels[j] |= (byte)(((bits >> j) & 1) << 4);
        }
    }
}
