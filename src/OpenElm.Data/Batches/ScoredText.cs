using System.Text;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Batches;

/// <summary>A held-out text that is handed out in stretches, each with the bytes and words that its tokens spell.</summary>
/// <param name="file">Where it comes from.</param>
/// <param name="record">The record of the file.</param>
/// <param name="tokens">What is scored; fewer than <paramref name="tokenCount"/> if a sequence cuts the text.</param>
/// <param name="text">The whole text, as it was tokenized.</param>
/// <param name="tokenCount">Tokens of the whole text.</param>
/// <param name="encoder">Spells tokens.</param>
internal sealed class ScoredText(DataFile file, long record, int[] tokens, string text, int tokenCount, ITextEncoder encoder)
{
    int _used;
    long _bytes;
    long _words;

    public DataFile File => file;

    public long Record => record;

    public int Left => tokens.Length - _used;

    /// <summary>The next <paramref name="count"/> tokens.</summary>
    public (ReadOnlyMemory<int> Tokens, long Bytes, long Words) Take(int count)
    {
        int start = _used;
        _used += count;
        (long bytes, long words) = _used == tokenCount
            ? (Encoding.UTF8.GetByteCount(text) - _bytes, Words(text) - _words) // what is left, so that the whole is exact
            : Spelled(start, _used);
        _bytes += bytes;
        _words += words;
        return (tokens.AsMemory(start, count), bytes, words);
    }

    // The token before goes first, because the decoder drops a leading blank and a word may go on.
    (long Bytes, long Words) Spelled(int start, int end)
    {
        int before = Math.Max(0, start - 1);
        string with = encoder.Decode(tokens.AsSpan(before, end - before));
        string without = encoder.Decode(tokens.AsSpan(before, start - before));
        return (Encoding.UTF8.GetByteCount(with) - Encoding.UTF8.GetByteCount(without), Words(with) - Words(without));
    }

    /// <summary>Counts what white space separates.</summary>
    internal static long Words(ReadOnlySpan<char> text)
    {
        long words = 0;
        bool inWord = false;
        foreach (char c in text)
        {
            bool space = char.IsWhiteSpace(c);
            words += !space && !inWord ? 1 : 0;
            inWord = !space;
        }

        return words;
    }
}
