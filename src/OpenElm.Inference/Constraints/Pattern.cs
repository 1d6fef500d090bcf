using System.Collections.Immutable;

namespace OpenElm.Inference.Constraints;

/// <summary>A set of texts, as a tree: what regular expressions and JSON schemas are translated to.</summary>
internal abstract record Pattern
{
    /// <summary>The empty text.</summary>
    public static Pattern Empty { get; } = new Sequence([]);

    /// <summary>One text.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The pattern.</returns>
    public static Pattern Text(string text) => new Sequence([.. text.EnumerateRunes().Select(rune => new Characters(CodePoints.Of((rune.Value, rune.Value))))]);

    /// <summary>One after another.</summary>
    /// <param name="parts">In order.</param>
    /// <returns>The pattern.</returns>
    public static Pattern Of(params ImmutableArray<Pattern> parts) => new Sequence(parts);

    /// <summary>The pattern or nothing.</summary>
    /// <returns>The pattern.</returns>
    public Pattern Optional() => new Repeat(this, 0, 1);

    /// <summary>One character of a set.</summary>
    public sealed record Characters(CodePoints Set) : Pattern;

    /// <summary>One after another.</summary>
    public sealed record Sequence(ImmutableArray<Pattern> Parts) : Pattern;

    /// <summary>One of several.</summary>
    public sealed record Alternatives(ImmutableArray<Pattern> Choices) : Pattern;

    /// <summary>At least <paramref name="Least"/> and at most <paramref name="Most"/> times; null is without limit.</summary>
    public sealed record Repeat(Pattern Body, int Least, int? Most) : Pattern;

    /// <summary>Items in order, each required or not, with a separator between those that are there.</summary>
    public sealed record SeparatedList(ImmutableArray<(Pattern Item, bool Required)> Items, Pattern Separator) : Pattern;
}
