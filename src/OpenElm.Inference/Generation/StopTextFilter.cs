using System.Collections.Immutable;

namespace OpenElm.Inference.Generation;

/// <summary>Passes text on, but holds back what may be the beginning of a stop text, and ends before a whole one.</summary>
/// <param name="stops">The stop texts, none empty.</param>
internal sealed class StopTextFilter(ImmutableArray<string> stops)
{
    string _held = "";

    /// <summary>Whether a stop text has appeared.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Takes the next text.</summary>
    /// <param name="text">The text.</param>
    /// <returns>What is certain to belong to the output.</returns>
    public string Append(string text)
    {
        if (stops.IsEmpty)
        {
            return text;
        }

        string all = _held + text;
        int stop = stops.Select(stop => all.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(-1).Min();
        Stopped = stop >= 0;
        int passed = Stopped ? stop : all.Length - LongestBeginning(all);
        _held = Stopped ? "" : all[passed..];
        return all[..passed];
    }

    /// <summary>Ends the text.</summary>
    /// <returns>What was held back.</returns>
    public string Flush() => _held;

    // The longest end of the text that begins a stop text.
    int LongestBeginning(string text)
    {
        int longest = Math.Min(text.Length, stops.Max(stop => stop.Length) - 1);
        while (longest > 0 && !stops.Any(stop => stop.AsSpan().StartsWith(text.AsSpan(text.Length - longest), StringComparison.Ordinal)))
        {
            longest--;
        }

        return longest;
    }
}
