using System.Text;
using CsCheck;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class EncodingPropertyTests
{
    // Ordinary words beside everything that is hard: runs of blanks, the symbol for a blank, scripts, pairs and lone surrogates.
    static readonly string[] Hard =
    [
        " ", "  ", "\n", "\t", "\r\n", "▁", "▁▁", "\0", "\uFFFD", "<0x41>", "<s>", "</s>", "'", "://", "123", "３",
        "the", " the", "The", "ing", " don't", "naïve", "é", "e\u0301", "日本語", "ошибка", "العربية", "한국어", "😀", "👩\u200D👩", "\uD83D",
        "\uDE00", "aaaaaaaa", "----------------", "                    ", "hello world", "Supercalifragilisticexpialidocious",
    ];

    static readonly Gen<string> Fragments = Gen.OneOf(
        Gen.Int[0, Hard.Length - 1].Select(i => Hard[i]),
        Gen.Char.AlphaNumeric.Array[1, 12].Select(characters => new string(characters)),
        Gen.Int[0x20, 0x10FFFF].Select(code => code is >= 0xD800 and <= 0xDFFF ? "x" : char.ConvertFromUtf32(code)),
        Gen.String[0, 6]);

    static readonly Gen<string> Texts = Fragments.Array[0, 12].Select(string.Concat);

    static string WithoutLoneSurrogates(string text)
    {
        var result = new StringBuilder();
        foreach (Rune rune in text.EnumerateRunes())
        {
            result.Append(rune.ToString());
        }
        return result.ToString();
    }

    [Theory]
    [InlineData("mistral")]
    [InlineData("llama")]
    public void Any_text_survives_encoding_and_decoding(string name)
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Named(name);
        Texts.Sample(text => Assert.Equal(
            WithoutLoneSurrogates(text).Replace('▁', ' '), tokenizer.Decode(tokenizer.Encode(text))), iter: 5000);
    }

    [Theory]
    [InlineData("mistral")]
    [InlineData("llama")]
    public void Cut_and_remembered_encoding_is_plain_merging_of_the_whole_text(string name)
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Named(name);
        var plain = new PlainBpe(tokenizer);
        Texts.Sample(text =>
        {
            List<int> expected = plain.Encode(text);
            Assert.Equal(expected, tokenizer.Encode(text));
            Assert.Equal(expected, tokenizer.EncodeWithOffsets(text).Select(piece => piece.Id));
        }, iter: 5000);
    }

    [Fact]
    public void Real_texts_are_encoded_as_by_plain_merging()
    {
        var plain = new PlainBpe(TestTokenizers.Mistral);
        foreach (string text in TestTokenizers.SampleTexts().Take(30))
        {
            string part = text[..Math.Min(text.Length, 1200)];
            Assert.Equal(plain.Encode(part), TestTokenizers.Mistral.Encode(part));
        }
    }

    [Fact]
    public void A_long_text_without_a_place_to_cut_is_encoded_as_by_plain_merging()
    {
        string text = string.Concat(Enumerable.Repeat("aaaab", 150)) + new string('=', 200) + new string(' ', 100);
        Assert.Equal(new PlainBpe(TestTokenizers.Mistral).Encode(text), TestTokenizers.Mistral.Encode(text));
    }

    [Fact]
    public void Time_grows_almost_linearly_with_a_text_that_cannot_be_cut()
    {
        // Quadratic merging of a million characters would take hours.
        int[] ids = TestTokenizers.Mistral.Encode(new string('a', 1_000_000));
        Assert.Equal(1_000_000, TestTokenizers.Mistral.Decode(ids).Length);
    }

    [Fact]
    public void Offsets_say_which_characters_an_id_stands_for() =>
        Texts.Sample(text =>
        {
            int end = 0;
            foreach (EncodedPiece piece in TestTokenizers.Mistral.EncodeWithOffsets(text))
            {
                Assert.Equal(end, piece.Offset);
                end = piece.Offset + piece.Length;
                string surface = WithoutLoneSurrogates(text.Substring(piece.Offset, piece.Length)).Replace(' ', '▁');
                string expected = TestTokenizers.Mistral.PieceOf(piece.Id);
                bool isByte = expected is ['<', '0', 'x', _, _, '>'];
                Assert.True(isByte || surface == expected || '▁' + surface == expected, $"'{surface}' is not '{expected}'");
            }
            Assert.Equal(text.Length, end);
        }, iter: 2000);

    [Fact]
    public void A_streaming_decoder_gives_the_same_text_and_never_half_a_character() =>
        Gen.Int[0, 32000].Array[0, 30].Sample(ids =>
        {
            // Byte pieces are rare among all ids: make every second one a byte.
            int[] mixed = [.. ids.Select((id, i) => i % 2 == 0 ? id : 3 + (id % 256))];
            foreach (int[] sequence in new[] { ids, mixed, [.. mixed.Where(id => id < 259)] })
            {
                StreamingDecoder decoder = TestTokenizers.Mistral.CreateDecoder();
                var text = new StringBuilder();
                foreach (int id in sequence)
                {
                    string part = decoder.Append(id);
                    Assert.Equal(WithoutLoneSurrogates(part), part);
                    text.Append(part);
                }
                text.Append(decoder.Flush());
                Assert.Equal(TestTokenizers.Mistral.Decode(sequence), text.ToString());
            }
        }, iter: 3000);

    [Fact]
    public async Task Many_threads_share_one_tokenizer()
    {
        SentencePieceTokenizer shared = SentencePieceTokenizer.Parse(TestTokenizers.Mistral.ModelBytes.Span);
        string[] texts = [.. TestTokenizers.SampleTexts().Take(60)];
        int[][] expected = [.. texts.Select(text => TestTokenizers.Mistral.Encode(text))];
        await Parallel.ForAsync(0, 8 * texts.Length, TestContext.Current.CancellationToken, (i, _) =>
        {
            Assert.Equal(expected[i % texts.Length], shared.Encode(texts[i % texts.Length]));
            return ValueTask.CompletedTask;
        });
    }

    [Fact]
    public void Known_words_are_encoded_without_allocating()
    {
        string text = TestTokenizers.SampleTexts().First();
        var ids = new List<int>();
        for (int warm = 0; warm < 50; warm++)
        {
            ids.Clear();
            TestTokenizers.Mistral.Encode(text, ids);
        }
        long before = GC.GetAllocatedBytesForCurrentThread();
        ids.Clear();
        TestTokenizers.Mistral.Encode(text, ids);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        // Words that meet in a slot of the cache are remembered anew: a few entries of about 100 bytes.
        Assert.InRange(allocated, 0, ids.Count);
    }
}
