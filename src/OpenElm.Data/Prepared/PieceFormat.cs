using System.Runtime.InteropServices;

namespace OpenElm.Data.Prepared;

/// <summary>
/// A file of prepared tokens, little-endian: the header, one <see cref="TextEntry"/> for each text, then all tokens, as 16-bit
/// numbers where the vocabulary allows and 32-bit numbers where not.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly record struct PieceHeader(ulong Magic, int BytesPerToken, int Texts, long Tokens, long Reserved)
{
    /// <summary>"OELMTOK1" as little-endian bytes.</summary>
    public const ulong ExpectedMagic = 0x314B4F544D4C454F;

    public static int Size => Marshal.SizeOf<PieceHeader>();
}

/// <summary>Where a text came from and lies.</summary>
/// <param name="Record">The record of the corpus file.</param>
/// <param name="FirstToken">Its first token in the piece.</param>
/// <param name="Group">Its number in the record.</param>
/// <param name="TokenCount">Its tokens before any cut.</param>
/// <param name="Stored">Its tokens in the piece.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal readonly record struct TextEntry(long Record, long FirstToken, int Group, int TokenCount, int Stored)
{
    public static int Size => Marshal.SizeOf<TextEntry>();
}
