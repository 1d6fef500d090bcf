namespace OpenElm.Quantization;

/// <summary>
/// The eight 6-bit scales and eight 6-bit minimums of Q4_K and Q5_K in 12 bytes: bytes 0–3 hold scales 0–3, bytes 4–7 minimums
/// 0–3, bytes 8–11 the low four bits of scale and minimum 4–7; their two high bits are the high bits of bytes 0–3 and 4–7.
/// </summary>
internal static class KScales
{
    /// <summary>Bytes of the packed numbers.</summary>
    public const int Bytes = 12;

    /// <summary>Packs.</summary>
    /// <param name="scales">[8] scales, 0 to 63.</param>
    /// <param name="minimums">[8] minimums, 0 to 63.</param>
    /// <param name="packed">[12] bytes.</param>
    public static void Pack(ReadOnlySpan<byte> scales, ReadOnlySpan<byte> minimums, Span<byte> packed)
    {
        for (int j = 0; j < 4; j++)
        {
            packed[j] = (byte)(scales[j] | (scales[j + 4] >> 4 << 6));
            packed[j + 4] = (byte)(minimums[j] | (minimums[j + 4] >> 4 << 6));
            packed[j + 8] = (byte)((scales[j + 4] & 15) | (minimums[j + 4] << 4));
        }
    }

    /// <summary>Unpacks.</summary>
    /// <param name="packed">[12] bytes.</param>
    /// <param name="scales">[8] scales.</param>
    /// <param name="minimums">[8] minimums.</param>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> scales, Span<byte> minimums)
    {
        for (int j = 0; j < 4; j++)
        {
            scales[j] = (byte)(packed[j] & 63);
            minimums[j] = (byte)(packed[j + 4] & 63);
            scales[j + 4] = (byte)((packed[j + 8] & 15) | (packed[j] >> 6 << 4));
            minimums[j + 4] = (byte)((packed[j + 8] >> 4) | (packed[j + 4] >> 6 << 4));
        }
    }
}
