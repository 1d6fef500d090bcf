using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Cuts texts into words, the units that no merge may cross in training, and counts them. A word is a run of characters of one
/// writing system with the blank before it; a digit that is not to be merged is a word by itself.
/// </summary>
internal sealed class WordCounter(bool splitDigits)
{
    readonly Dictionary<string, long> _counts = [];

    /// <summary>How often each word occurs; a leading blank is the symbol for it.</summary>
    public IReadOnlyDictionary<string, long> Counts => _counts;

    /// <summary>Blanks that belong to no word.</summary>
    public long LoneBlanks { get; private set; }

    /// <summary>Counts the words of all texts on several threads. Sums do not depend on how the texts were dealt.</summary>
    public static WordCounter CountAll(IEnumerable<string> texts, BpeTrainerOptions options, CancellationToken cancellation)
    {
        var total = new WordCounter(options.SplitDigits);
        try
        {
            Parallel.ForEach(
                texts,
                new ParallelOptions { MaxDegreeOfParallelism = options.Threads, CancellationToken = cancellation },
                () => new WordCounter(options.SplitDigits),
                (text, _, counter) =>
                {
                    counter.Count(text);
                    return counter;
                },
                counter =>
                {
                    lock (total)
                    {
                        total.Add(counter);
                    }
                });
        }
        catch (AggregateException e) when (e.InnerExceptions.Count == 1)
        {
            // A broken source of texts should look the same as without threads.
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(e.InnerException!).Throw();
        }
        return total;
    }

    public void Count(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty)
        {
            return;
        }
        // Room for the dummy prefix; every blank becomes the symbol for it, so that words need no further copy.
        char[] buffer = System.Buffers.ArrayPool<char>.Shared.Rent(text.Length + 1);
        Span<char> characters = buffer.AsSpan(0, text.Length + 1);
        characters[0] = SentencePieceModel.BlankSymbol;
        text.Replace(characters[1..], ' ', SentencePieceModel.BlankSymbol);
        CountWords(characters);
        System.Buffers.ArrayPool<char>.Shared.Return(buffer);
    }

    void CountWords(ReadOnlySpan<char> text)
    {
        Dictionary<string, long>.AlternateLookup<ReadOnlySpan<char>> counts = _counts.GetAlternateLookup<ReadOnlySpan<char>>();

        ReadOnlySpan<byte> ascii = WritingSystem.Ascii;
        int start = -1; // of the word; −1: none is open
        int system = WritingSystem.Blank; // of the word; Blank: so far it is only a blank
        int length;
        for (int i = 0; i < text.Length; i += length)
        {
            char c = text[i];
            int next;
            if (c < 128)
            {
                (next, length) = (ascii[c], 1);
                if (next == system && start >= 0 && next >= WritingSystem.Common)
                {
                    continue; // inside a word: the common case
                }
            }
            else if (c == SentencePieceModel.BlankSymbol)
            {
                (next, length) = (WritingSystem.Blank, 1);
            }
            else
            {
                bool valid = Rune.DecodeFromUtf16(text[i..], out Rune rune, out length) == System.Buffers.OperationStatus.Done;
                next = valid ? WritingSystem.Of(rune) : WritingSystem.Excluded;
            }
            bool alone = next == WritingSystem.Excluded || (next == WritingSystem.Digit && splitDigits);
            bool goesOn = start >= 0 && !alone && next != WritingSystem.Blank
                && (next == system || next == WritingSystem.Inherited || system is WritingSystem.Blank or WritingSystem.Inherited);
            if (goesOn)
            {
                system = next == WritingSystem.Inherited && system != WritingSystem.Blank ? system : next;
                continue;
            }
            Close(counts, text, start, i, system);
            start = -1;
            if (alone && next == WritingSystem.Digit)
            {
                Close(counts, text, i, i + length, next);
            }
            else if (!alone)
            {
                start = i;
                system = next;
            }
        }
        Close(counts, text, start, text.Length, system);
    }

    void Close(
        Dictionary<string, long>.AlternateLookup<ReadOnlySpan<char>> counts, ReadOnlySpan<char> text, int start, int end, int system)
    {
        if (start < 0)
        {
            return;
        }
        if (system == WritingSystem.Blank)
        {
            LoneBlanks++;
            return;
        }
        ref long count = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, text[start..end], out _);
        count++;
    }

    void Add(WordCounter other)
    {
        foreach ((string word, long count) in other._counts)
        {
            _counts[word] = _counts.GetValueOrDefault(word) + count;
        }
        LoneBlanks += other.LoneBlanks;
    }
}
