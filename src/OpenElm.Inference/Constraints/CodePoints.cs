using System.Collections.Immutable;

namespace OpenElm.Inference.Constraints;

/// <summary>A set of Unicode characters: sorted ranges that neither touch nor hold surrogates, which UTF-8 cannot write.</summary>
internal sealed class CodePoints
{
    const int Largest = 0x10FFFF, FirstSurrogate = 0xD800, LastSurrogate = 0xDFFF;

    CodePoints(ImmutableArray<(int First, int Last)> ranges) => Ranges = ranges;

    /// <summary>Every character.</summary>
    public static CodePoints All { get; } = Of((0, Largest));

    /// <summary>The ranges.</summary>
    public ImmutableArray<(int First, int Last)> Ranges { get; }

    /// <summary>The union of ranges, in any order.</summary>
    /// <param name="ranges">First and last character of each.</param>
    /// <returns>The set.</returns>
    public static CodePoints Of(params IEnumerable<(int First, int Last)> ranges)
    {
        var merged = new List<(int First, int Last)>();
        foreach ((int first, int last) in ranges.SelectMany(WithoutSurrogates).Order())
        {
            if (merged is [.., (int before, int end)] && first <= end + 1)
            {
                merged[^1] = (before, Math.Max(end, last));
            }
            else
            {
                merged.Add((first, last));
            }
        }

        return new CodePoints([.. merged]);
    }

    /// <summary>The characters of a text.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The set.</returns>
    public static CodePoints Of(string text) => Of(text.EnumerateRunes().Select(rune => (rune.Value, rune.Value)));

    /// <summary>All other characters.</summary>
    /// <returns>The complement.</returns>
    public CodePoints Complement()
    {
        var gaps = new List<(int, int)>();
        int next = 0;
        foreach ((int first, int last) in Ranges)
        {
            gaps.Add((next, first - 1));
            next = last + 1;
        }

        gaps.Add((next, Largest));
        return Of(gaps.Where(gap => gap.Item1 <= gap.Item2));
    }

    /// <summary>Characters of both.</summary>
    /// <param name="other">The other set.</param>
    /// <returns>The intersection.</returns>
    public CodePoints And(CodePoints other) => Of(
        from a in Ranges
        from b in other.Ranges
        let first = Math.Max(a.First, b.First)
        let last = Math.Min(a.Last, b.Last)
        where first <= last
        select (first, last));

    static IEnumerable<(int, int)> WithoutSurrogates((int First, int Last) range)
    {
        if (range.First < FirstSurrogate)
        {
            yield return (range.First, Math.Min(range.Last, FirstSurrogate - 1));
        }

        if (range.Last > LastSurrogate)
        {
            yield return (Math.Max(range.First, LastSurrogate + 1), range.Last);
        }
    }
}
