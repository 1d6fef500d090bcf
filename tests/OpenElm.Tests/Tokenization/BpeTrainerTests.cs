using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class BpeTrainerTests
{
    static readonly BpeTrainerOptions Tiny = new() { VocabularySize = 300, CharacterCoverage = 1 };

    static List<string> PiecesOf(SentencePieceTokenizer tokenizer) => [.. Enumerable.Range(0, tokenizer.PieceCount).Select(tokenizer.PieceOf)];

    [Fact]
    public void The_most_frequent_pair_comes_first()
    {
        // "low" 5 times, "lower" twice, "newest" 6 times, "widest" 3 times: the example of the paper that introduced BPE for words.
        string text = string.Join(' ', Enumerable.Repeat("low", 5).Concat(Enumerable.Repeat("lower", 2)).Concat(Enumerable.Repeat("newest", 6)).Concat(Enumerable.Repeat("widest", 3)));
        SentencePieceTokenizer tokenizer = new BpeTrainer(Tiny with { VocabularySize = 274 + 11 + 5 }).Train([text]);
        List<string> pieces = PiecesOf(tokenizer);
        // es and st (9 times): "es" by the alphabet; then est; then lo and ow (7): "lo"; "low"; "▁low"
        Assert.Equal(["es", "est", "lo", "low", "▁low"], pieces[274..279]);
        Assert.Equal([.. "▁ewlnostdir".OrderBy(c => c)], pieces[279..].Select(piece => piece.Single()).OrderBy(c => c));
    }

    [Fact]
    public void The_vocabulary_is_laid_out_as_LLaMA_s()
    {
        SentencePieceTokenizer tokenizer = new BpeTrainer(new() { VocabularySize = 1500 }).Train(TestTokenizers.SampleTexts().Take(60));
        List<string> pieces = PiecesOf(tokenizer);
        Assert.Equal(1500, tokenizer.PieceCount);
        Assert.Equal((0, 1, 2, 1500), (tokenizer.UnknownId, tokenizer.BosId, tokenizer.EosId, tokenizer.PadId));
        Assert.Equal(Enumerable.Range(0, 256).Select(value => $"<0x{value:X2}>"), pieces[3..259]);
        Assert.Equal(Enumerable.Range(2, 15).Select(length => new string('▁', length)), pieces[259..274]);
        Assert.Equal(1500, pieces.Distinct().Count());
        foreach (string piece in pieces.Skip(274))
        {
            Assert.DoesNotContain('▁', piece[1..]);
            Assert.True(piece.Length == 1 || !piece.Any(char.IsDigit), piece);
            Assert.InRange(piece.Length, 1, 16);
            Assert.DoesNotContain('\n', piece);
            Assert.True(!piece.Any(char.IsLetter) || piece.TrimStart('▁').All(char.IsLetter), piece);
        }
        float[] scores = [.. tokenizer.Model.Pieces.Skip(274).Where(piece => piece.Text != "▁").Select(piece => piece.Score)];
        Assert.Equal(scores.OrderDescending(), scores);
    }

    [Fact]
    public void Blanks_before_a_word_leave_one_to_the_word()
    {
        SentencePieceTokenizer tokenizer = new BpeTrainer(new() { VocabularySize = 1500 }).Train(TestTokenizers.SampleTexts().Take(60));
        Assert.Equal(["▁▁▁▁", "▁the"], tokenizer.Encode("    the").Select(tokenizer.PieceOf)); // one blank is the dummy prefix
        Assert.Equal([new string('▁', 16), "▁▁▁▁▁"], tokenizer.Encode(new string(' ', 20)).Select(tokenizer.PieceOf));
    }

    [Fact]
    public void The_same_texts_give_the_same_bytes_on_any_number_of_threads()
    {
        string[] texts = [.. TestTokenizers.SampleTexts().Take(100)];
        byte[] Train(int threads) => new BpeTrainer(new() { VocabularySize = 2000, Threads = threads }).Train(texts).ModelBytes.ToArray();

        byte[] one = Train(1);
        Assert.Equal(one, Train(1));
        Assert.Equal(one, Train(4));
    }

    [Fact]
    public void Learning_agrees_with_counting_everything_anew()
    {
        (string, long)[] words = [.. new WordCounts(TestTokenizers.SampleTexts().Take(8)).Words];
        HashSet<System.Text.Rune> alphabet = [.. words.SelectMany(word => word.Item1.EnumerateRunes())];
        alphabet.Remove(new System.Text.Rune('q'));
        List<string> learned = new MergeLearner(words, alphabet, 6).Learn(400, TestContext.Current.CancellationToken);
        Assert.Equal(PlainLearner.Learn(words, alphabet, 6, 400), learned);
        Assert.Equal(400, learned.Count);
    }

    [Fact]
    public void Rare_characters_are_left_to_bytes()
    {
        string text = string.Concat(Enumerable.Repeat("ab ba ", 2000)) + "é";
        SentencePieceTokenizer tokenizer = new BpeTrainer(new() { VocabularySize = 279 }).Train([text]);
        Assert.Null(tokenizer.IdOf("é"));
        Assert.NotNull(tokenizer.IdOf("a"));
        Assert.Equal("é", tokenizer.Decode(tokenizer.Encode("é")));
    }

    [Fact]
    public void Impossible_options_are_reported_together()
    {
        var options = new BpeTrainerOptions { VocabularySize = 0, CharacterCoverage = double.NaN, MaxPieceLength = 0, MaxBlankRun = 0, Threads = 0 };
        string message = Assert.Throws<OpenElmException>(() => new BpeTrainer(options).Train(["a"])).Message;
        Assert.Equal(6, message.Split('\n').Length);
    }

    [Fact]
    public void A_size_that_cannot_be_reached_is_an_error()
    {
        Assert.Contains("need 276", Assert.Throws<OpenElmException>(() => new BpeTrainer(Tiny with { VocabularySize = 275 }).Train(["a"])).Message, StringComparison.Ordinal);
        Assert.Contains("only 277 pieces", Assert.Throws<OpenElmException>(() => new BpeTrainer(Tiny).Train(["a"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Training_can_be_stopped()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => new BpeTrainer(Tiny).Train(["a b"], source.Token));
    }

    [Fact]
    public void A_broken_source_of_texts_shows_its_own_error()
    {
        static IEnumerable<string> Texts()
        {
            yield return "a";
            throw new OpenElmException("line 2 is damaged");
        }

        Assert.Equal("line 2 is damaged", Assert.Throws<OpenElmException>(() => new BpeTrainer(Tiny).Train(Texts())).Message);
    }

    /// <summary>Words of some texts, in the order in which the trainer takes them.</summary>
    sealed class WordCounts(IEnumerable<string> texts)
    {
        public IEnumerable<(string, long)> Words => WordCounter.CountAll(texts, Tiny, default).Counts
            .OrderByDescending(word => word.Value).ThenBy(word => word.Key, StringComparer.Ordinal).Select(word => (word.Key, word.Value));
    }

    /// <summary>The reference: all pairs of all words are counted for every single merge.</summary>
    static class PlainLearner
    {
        public static List<string> Learn((string Word, long Count)[] words, HashSet<System.Text.Rune> alphabet, int maxLength, int count)
        {
            List<(List<string> Symbols, long Count)> cut = [];
            foreach ((string word, long occurrences) in words)
            {
                var symbols = new List<string>();
                foreach (System.Text.Rune rune in word.EnumerateRunes())
                {
                    if (alphabet.Contains(rune))
                    {
                        symbols.Add(rune.ToString());
                    }
                    else
                    {
                        cut.Add((symbols, occurrences));
                        symbols = [];
                    }
                }
                cut.Add((symbols, occurrences));
            }
            var pieces = new List<string>();
            while (pieces.Count < count)
            {
                var pairs = new Dictionary<(string Left, string Right), long>();
                foreach ((List<string> symbols, long occurrences) in cut)
                {
                    for (int i = 1; i < symbols.Count; i++)
                    {
                        if (symbols[i - 1].Length + symbols[i].Length <= maxLength)
                        {
                            pairs[(symbols[i - 1], symbols[i])] = pairs.GetValueOrDefault((symbols[i - 1], symbols[i])) + occurrences;
                        }
                    }
                }
                (string left, string right) = pairs
                    .OrderByDescending(pair => pair.Value)
                    .ThenBy(pair => pair.Key.Left.Length + pair.Key.Right.Length)
                    .ThenBy(pair => pair.Key.Left + pair.Key.Right, StringComparer.Ordinal)
                    .ThenBy(pair => pieces.IndexOf(pair.Key.Left))
                    .First().Key;
                if (!pieces.Contains(left + right))
                {
                    pieces.Add(left + right);
                }
                foreach ((List<string> symbols, _) in cut)
                {
                    for (int i = 0; i + 1 < symbols.Count; i++)
                    {
                        if (symbols[i] == left && symbols[i + 1] == right)
                        {
                            symbols[i] = left + right;
                            symbols.RemoveAt(i + 1);
                        }
                    }
                }
            }
            return pieces;
        }
    }
}
