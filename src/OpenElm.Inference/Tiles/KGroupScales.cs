namespace OpenElm.Inference.Tiles;

/// <summary>The 6-bit scales and minimums of the 8 groups of a Q4_K or Q5_K block, out of their 12 bytes: a byte each, four in a word.</summary>
/// <param name="Scales0">Of groups 0 to 3, the first lowest.</param>
/// <param name="Scales4">Of groups 4 to 7.</param>
/// <param name="Mins0">Of groups 0 to 3.</param>
/// <param name="Mins4">Of groups 4 to 7.</param>
internal readonly record struct KGroupScales(uint Scales0, uint Scales4, uint Mins0, uint Mins4)
{
    const uint LowFour = 0x0F0F0F0F, NextTwo = 0x30303030, LowSix = 0x3F3F3F3F;

    /// <summary>Unpacks a block: its first 8 bytes hold groups 0 to 3 and the upper bits of the others, its last 4 the lower bits of those.</summary>
    /// <param name="packed">[12].</param>
    /// <returns>The scales.</returns>
    public static unsafe KGroupScales Of(byte* packed)
    {
        (uint first, uint second, uint third) = (((uint*)packed)[0], ((uint*)packed)[1], ((uint*)packed)[2]);
        return new(
            first & LowSix, (third & LowFour) | ((first >> 2) & NextTwo),
            second & LowSix, ((third >> 4) & LowFour) | ((second >> 2) & NextTwo));
    }

    /// <summary>Scale and minimum of one group.</summary>
    /// <param name="group">0 to 7.</param>
    /// <returns>0 to 63 each.</returns>
    public (byte Scale, byte Min) Group(int group)
    {
        int shift = group % 4 * 8;
        return group < 4 ? ((byte)(Scales0 >> shift), (byte)(Mins0 >> shift)) : ((byte)(Scales4 >> shift), (byte)(Mins4 >> shift));
    }
}
