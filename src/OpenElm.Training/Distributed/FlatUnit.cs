using System.Collections.Immutable;
using System.Globalization;
using System.Text.RegularExpressions;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>A weight's place in the flat memory of its unit.</summary>
/// <param name="Weight">The weight.</param>
/// <param name="Shape">Its shape, which the weight itself lacks while it is elsewhere.</param>
/// <param name="Offset">Its first element.</param>
/// <param name="Count">Its elements.</param>
internal sealed record FlatPiece(NamedWeight Weight, ImmutableArray<long> Shape, long Offset, long Count)
{
    /// <summary>Whether AdamW decays it.</summary>
    public bool Decays => Shape.Length >= 2;

    /// <summary>The weight's view of the unit's memory.</summary>
    /// <param name="flat">[length].</param>
    public Tensor ViewOf(Tensor flat)
    {
        using Tensor part = flat.narrow(0, Offset, Count);
        return part.view([.. Shape]);
    }
}

/// <summary>
/// The trained weights of one layer, or of all that is outside of the layers, in one piece of memory that is exchanged at once and divided evenly among
/// ranks: so every layer is, however wide it is.
/// </summary>
/// <param name="Layer">The layer; null is the root: embedding, last norm, head.</param>
/// <param name="Pieces">The weights.</param>
/// <param name="Length">Elements, padded to a multiple of <paramref name="Ranks"/> times <see cref="Alignment"/>.</param>
/// <param name="Ranks">Parts.</param>
internal sealed partial record FlatUnit(int? Layer, ImmutableArray<FlatPiece> Pieces, long Length, int Ranks)
{
    /// <summary>Weights and parts begin at multiples of so many elements: 256 bytes in single precision, what kernels read at once.</summary>
    public const long Alignment = 64;

    /// <summary>Elements of a rank's part.</summary>
    public long PartLength => Length / Ranks;

    /// <summary>Divides weights into units, in the order of the forward pass, the root last.</summary>
    /// <param name="weights">The weights.</param>
    /// <param name="ranks">Parts.</param>
    public static ImmutableArray<FlatUnit> Of(IEnumerable<NamedWeight> weights, int ranks) =>
    [
        .. weights.GroupBy(weight => LayerOf(weight.Name)).OrderBy(group => group.Key ?? int.MaxValue).Select(group =>
        {
            long end = 0;
            var pieces = ImmutableArray.CreateBuilder<FlatPiece>();
            foreach (NamedWeight weight in group)
            {
                pieces.Add(new FlatPiece(weight, [.. weight.Value.shape], end, weight.Value.numel()));
                end = RoundUp(end + weight.Value.numel(), Alignment);
            }

            return new FlatUnit(group.Key, pieces.ToImmutable(), RoundUp(end, Alignment * ranks), ranks);
        }),
    ];

    /// <summary>The parts of weights that lie in a range of the unit.</summary>
    /// <param name="begin">First element of the range.</param>
    /// <param name="length">Its elements.</param>
    /// <returns>For each weight its piece, where the part begins in the range, and its elements.</returns>
    public IEnumerable<(FlatPiece Piece, long Start, long Count)> Within(long begin, long length) => Pieces
        .Select(piece => (Piece: piece, From: Math.Max(piece.Offset, begin), To: Math.Min(piece.Offset + piece.Count, begin + length)))
        .Where(part => part.From < part.To)
        .Select(part => (part.Piece, part.From - begin, part.To - part.From));

    static int? LayerOf(string name) => LayerNumber().Match(name) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : null;

    static long RoundUp(long value, long multiple) => (value + multiple - 1) / multiple * multiple;

    [GeneratedRegex(@"(?:^|\.)layers\.(\d+)\.")]
    private static partial Regex LayerNumber();
}
