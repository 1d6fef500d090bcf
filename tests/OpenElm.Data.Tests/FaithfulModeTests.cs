using CsCheck;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Tests;

/// <summary>The steps from text to sample, on texts made by hand.</summary>
public sealed class FaithfulModeTests
{
    static readonly DataConfig Config = new() { Sources = [new() { FileName = "a.jsonl" }], SequenceLength = 16 };

    static TokenBatch[] Take(DataConfig config, int count, params ReadOnlySpan<string> texts)
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", texts);
        using var stream = new BatchStream(config, folder.Root, new ByteEncoder { CleanUpWith = text => text.Replace('“', '"') }, 1);
        return [.. Enumerable.Range(0, count).Select(_ => stream.Next())];
    }

    static string Spell(TokenBatch batch) => new ByteEncoder().Decode([batch.Inputs[0], .. batch.Targets]);

    [Fact]
    public void Short_text_is_padded_with_the_pad_id_in_inputs_and_targets()
    {
        TokenBatch batch = Take(Config, 1, "abc")[0];
        Assert.Equal([256, 'a', 'b', 'c', 257, .. Enumerable.Repeat(258, 11)], batch.Inputs);
        Assert.Equal(['a', 'b', 'c', 257, .. Enumerable.Repeat(258, 12)], batch.Targets);
    }

    [Fact]
    public void Long_text_is_cut_at_one_token_more_than_the_length_and_its_end_is_lost()
    {
        TokenBatch[] batches = Take(Config, 2, "0123456789abcdefghijklm", "next");
        Assert.Equal([256, .. "0123456789abcde".Select(c => (int)c)], batches[0].Inputs);
        Assert.Equal("0123456789abcdef", Spell(batches[0]));
        Assert.Equal("next", Spell(batches[1]));
    }

    [Fact]
    public void Documents_are_split_on_single_spaces_only()
    {
        var config = Config with { DocumentSplitSize = 2 };
        Assert.Equal(["a\nb c", "d ", "e f", ""], Take(config, 4, "a\nb c d  e f ").Select(Spell));
    }

    [Fact]
    public void Groups_joined_by_spaces_are_the_document() =>
        Gen.Select(Gen.Char["ab \n"].Array[0, 60].Select(chars => new string(chars)), Gen.Int[1, 6]).Sample((text, size) =>
        {
            List<string> groups = [];
            var split = new WordGroups(text, size);
            while (split.MoveNext())
            {
                groups.Add(split.Current.ToString());
            }

            Assert.Equal(text.Split(' ').Chunk(size).Select(words => string.Join(' ', words)), groups);
            Assert.Equal(text, string.Join(' ', groups));
        });

    [Theory]
    [InlineData("", 0)]
    [InlineData("abc", 3)]
    [InlineData("  A, b!  ", 3)]                    // "a b"
    [InlineData("a - b", 3)]                        // the hyphen goes, both spaces become one
    [InlineData("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0)]
    [InlineData("a\u00A0\u2028\u001Fb", 3)]
    [InlineData("“é”", 3)]                          // only ASCII punctuation goes
    [InlineData("😀😀", 2)]                         // code points
    [InlineData("\u0130x", 3)]                      // lower case of U+0130 is two code points in Python
    public void Character_filter_measures_as_Python_does(string text, int length) =>
        Assert.Equal(length, CharacterFilter.Measure(text));

    [Fact]
    public void Character_filter_equals_its_plain_version() =>
        Gen.Char["aB .!$\u00A0\n\té中"].Array[0, 50].Select(chars => new string(chars)).Sample(text =>
        {
            int length = ReferencePipeline.MeasuredLength(text);
            Assert.Equal(length, CharacterFilter.Measure(text));
            Assert.True(CharacterFilter.Passes(text, length));
            Assert.False(CharacterFilter.Passes(text, length + 1));
        });

    [Fact]
    public void Character_filter_only_measures_and_the_text_stays_as_it_is() =>
        Assert.Equal("A,  b!", Spell(Take(Config with { MinCharactersPerText = 3 }, 1, "a !", "A,  b!")[0]));

    [Fact]
    public void Token_filter_counts_BOS_and_EOS()
    {
        Assert.Equal("abc", Spell(Take(Config with { MinTokensPerText = 5 }, 1, "ab", "abc")[0]));
        Assert.Equal("abcd", Spell(Take(Config with { MinTokensPerText = 5, AppendEos = false }, 1, "abc", "abcd")[0]));
    }

    [Fact]
    public void Clean_up_comes_before_tokens_and_can_be_off()
    {
        Assert.Equal("\"a", Spell(Take(Config, 1, "“a")[0]));
        Assert.Equal("“a", Spell(Take(Config with { CleanUp = false }, 1, "“a")[0]));
    }

    [Fact]
    public void Groups_are_filtered_one_by_one()
    {
        var config = Config with { DocumentSplitSize = 1, MinCharactersPerText = 3 };
        Assert.Equal(["long", "words"], Take(config, 2, "a long b words c").Select(Spell));
    }

    [Fact]
    public void Statistics_say_what_became_of_every_token()
    {
        using var folder = new CorpusFolder();
        folder.Write("a.jsonl", "x", "abc", "0123456789abcdefghijklm", "abcd");
        using var stream = new BatchStream(Config with { MinCharactersPerText = 2, MinTokensPerText = 6 }, folder.Root, new ByteEncoder(), 1);
        stream.Next();
        stream.Next();
        DataStatistics counted = stream.Statistics;
        Assert.Equal((4, 31, 4), (counted.Documents, counted.Characters, counted.Texts));
        Assert.Equal((1, 1, 1), (counted.TextsTooShort, counted.CharactersTooShort, counted.TextsTooFewTokens));
        Assert.Equal(17 + 6, counted.TokensKept);
        Assert.Equal(17 - 6, counted.TokensPadded);
        Assert.Equal((25 - 17) + 5, counted.TokensDropped);
        Assert.Equal((2, 0), (counted.Batches, counted.BadRecords));
    }
}
