using System.Collections.Immutable;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Trains SentencePiece BPE tokenizers of LLaMA's kind: byte fallback, single digits, pieces of blanks, no normalization, a blank
/// in front of every text. The same texts and options give the same bytes, however many threads count.
/// </summary>
/// <param name="options">Size and kind of the vocabulary.</param>
public sealed class BpeTrainer(BpeTrainerOptions options)
{
    // LLaMA's score for pieces of blanks: merged last, so that the last blank of a run goes to the word behind it.
    const float BlankScore = -1e9f;

    /// <summary>Trains a tokenizer.</summary>
    /// <param name="texts">The texts; read once. Words of a text do not run across its line ends.</param>
    /// <param name="cancellation">Ends the training early.</param>
    /// <returns>The tokenizer; its <see cref="SentencePieceTokenizer.ModelBytes"/> are the file to save.</returns>
    /// <exception cref="OpenElmException">The options are impossible, or the texts do not yield so many pieces.</exception>
    public SentencePieceTokenizer Train(IEnumerable<string> texts, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(texts);
        options.Validate();
        WordCounter counter = WordCounter.CountAll(texts, options, cancellation);
        (string Word, long Count)[] words = [.. counter.Counts
            .OrderByDescending(word => word.Value)
            .ThenBy(word => word.Key, StringComparer.Ordinal)
            .Select(word => (word.Key, word.Value))];
        List<Rune> alphabet = Alphabet(words, counter.LoneBlanks);

        ImmutableArray<Piece>.Builder pieces = FixedPieces();
        int merges = options.VocabularySize - pieces.Count - alphabet.Count;
        if (merges < 0)
        {
            throw new OpenElmException(
                $"A vocabulary of {options.VocabularySize} pieces is too small: special, byte and blank pieces and the {alphabet.Count} "
                + $"characters of the texts need {options.VocabularySize - merges}; raise the size or lower the character coverage of {options.CharacterCoverage}.");
        }
        List<string> learned = new MergeLearner(words, alphabet.ToHashSet(), options.MaxPieceLength).Learn(merges, cancellation);
        if (learned.Count < merges)
        {
            throw new OpenElmException(
                $"The texts yield only {options.VocabularySize - merges + learned.Count} pieces instead of {options.VocabularySize}: ask for no more than these, or give more text.");
        }
        int firstLearned = pieces.Count;
        foreach (string text in learned)
        {
            pieces.Add(new Piece(text, firstLearned - 1 - pieces.Count, PieceType.Normal));
        }
        foreach (Rune rune in alphabet)
        {
            float score = rune.Value == SentencePieceModel.BlankSymbol ? BlankScore : firstLearned - 1 - pieces.Count;
            pieces.Add(new Piece(rune.ToString(), score, PieceType.Normal));
        }
        var model = new SentencePieceModel
        {
            Pieces = pieces.ToImmutable(),
            ModelType = SentencePieceModel.BpeModelType,
            ByteFallback = options.ByteFallback,
            RemoveExtraBlanks = false,
            TrainedWith = options,
        };
        return SentencePieceTokenizer.Parse(SentencePieceModelWriter.Write(model));
    }

    /// <summary>The pieces that no text changes: special, bytes, runs of two and more blanks.</summary>
    ImmutableArray<Piece>.Builder FixedPieces()
    {
        ImmutableArray<Piece>.Builder pieces = ImmutableArray.CreateBuilder<Piece>();
        pieces.Add(new Piece("<unk>", 0, PieceType.Unknown));
        pieces.Add(new Piece("<s>", 0, PieceType.Control));
        pieces.Add(new Piece("</s>", 0, PieceType.Control));
        for (int value = 0; options.ByteFallback && value < 256; value++)
        {
            pieces.Add(new Piece($"<0x{value:X2}>", 0, PieceType.Byte));
        }
        for (int length = 2; length <= options.MaxBlankRun; length++)
        {
            pieces.Add(new Piece(new string(SentencePieceModel.BlankSymbol, length), BlankScore, PieceType.Normal));
        }
        return pieces;
    }

    /// <summary>The most frequent characters that together make up the coverage, the blank always among them.</summary>
    List<Rune> Alphabet((string Word, long Count)[] words, long loneBlanks)
    {
        var blank = new Rune(SentencePieceModel.BlankSymbol);
        var counts = new Dictionary<Rune, long> { [blank] = loneBlanks };
        foreach ((string word, long count) in words)
        {
            foreach (Rune rune in word.EnumerateRunes())
            {
                counts[rune] = counts.GetValueOrDefault(rune) + count;
            }
        }
        long total = counts.Values.Sum();
        long covered = 0;
        var alphabet = new List<Rune> { blank };
        foreach ((Rune rune, long count) in counts.OrderByDescending(entry => entry.Value).ThenBy(entry => entry.Key.Value))
        {
            if (total == 0 || covered >= options.CharacterCoverage * total)
            {
                break;
            }
            covered += count;
            if (rune != blank)
            {
                alphabet.Add(rune);
            }
        }
        return alphabet;
    }
}
