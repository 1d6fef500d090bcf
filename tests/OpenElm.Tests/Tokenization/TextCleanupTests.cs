using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using CsCheck;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

/// <summary>
/// Expected values are those of ftfy 6.2.0 with <c>fix_encoding=False, fix_c1_controls=False</c>; see Data/tokenizer/README.md.
/// </summary>
public sealed class TextCleanupTests
{
    static string Data(string name) => Path.Combine(TestTokenizers.RepositoryRoot, "tests/OpenElm.Tests/Data/tokenizer", name);

    [Theory]
    [InlineData("fix_text.jsonl.gz", 6027)]
    [InlineData("fix_text_entities.jsonl.gz", 5690)]
    public void Texts_are_cleaned_as_ftfy_cleans_them(string file, int atLeast)
    {
        var wrong = new List<string>();
        int lines = 0;
        foreach (JsonElement line in TestTokenizers.JsonLines(Data(file)))
        {
            string text = line[0].GetString()!, expected = line[1].GetString()!;
            string actual = TextCleanup.FixText(text);
            if (actual != expected)
            {
                wrong.Add($"{Codes(text)} -> {Codes(actual)} instead of {Codes(expected)}");
            }
            lines++;
        }
        Assert.True(wrong.Count == 0, $"{wrong.Count} wrong:\n{string.Join('\n', wrong.Take(20))}");
        Assert.InRange(lines, atLeast, int.MaxValue);
    }

    [Fact]
    public void Every_code_point_is_changed_or_kept_as_by_ftfy()
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(Data("fix_text_characters.txt.gz")), CompressionMode.Decompress));
        var expected = new Dictionary<int, string>();
        while (reader.ReadLine() is string line)
        {
            if (!line.StartsWith('#'))
            {
                int[] codes = [.. line.Split(' ').Select(code => int.Parse(code, NumberStyles.HexNumber))];
                expected.Add(codes[0], string.Concat(codes.Skip(1).Select(char.ConvertFromUtf32)));
            }
        }
        Assert.InRange(expected.Count, 1000, 3000);
        for (int code = 0; code <= 0x10FFFF; code++)
        {
            if (code is < 0xD800 or > 0xDFFF)
            {
                string character = char.ConvertFromUtf32(code);
                string result = TextCleanup.FixText($"_{character}_");
                Assert.Equal(Codes($"_{expected.GetValueOrDefault(code, character)}_"), Codes(result));
            }
        }
    }

    [Fact]
    public void Lone_surrogates_become_replacement_characters() =>
        Assert.Equal("\uFFFDa\uFFFD\uFFFD😀\uFFFD", TextCleanup.FixText("\uD83Da\uDCA9\uD83D😀\uDCA9"));

    [Fact]
    public void Clean_text_is_the_same_string()
    {
        const string Text = "A line.\n\tAnother <b>line</b>; x = 'y'.\f";
        Assert.Same(Text, TextCleanup.FixText(Text));
    }

    [Fact]
    public void A_tag_stops_unescaping_in_its_line_and_later()
    {
        Assert.Equal("&\n<p> &amp;\n&amp;\u00e9", TextCleanup.FixText("&amp;\n<p> &amp;\n&amp;e\u0301"));
        Assert.Equal("\n<p>\n\n&amp;", TextCleanup.FixText("\n<p>\n\n&amp;"));
    }

    [Fact]
    public void Lines_of_more_than_a_million_code_points_are_cut()
    {
        string smileys = string.Concat(Enumerable.Repeat("😀", 999_995));
        Assert.Equal(smileys + "&", TextCleanup.FixText(smileys + "&amp;")); // a million, in one piece
        Assert.Equal(smileys + "x&amp;", TextCleanup.FixText(smileys + "x&amp;")); // one more: cut before the semicolon
    }

    [Fact]
    public void Cleaned_text_stays_as_it_is() =>
        Gen.String.Sample(text =>
        {
            string once = TextCleanup.FixText(text);
            // A '<' that came out of a reference stops unescaping the second time, so compare texts without ampersands.
            return once.Contains('&') || TextCleanup.FixText(once) == once;
        }, iter: 20_000);

    static string Codes(string text)
    {
        var codes = new StringBuilder();
        foreach (Rune rune in text.EnumerateRunes())
        {
            codes.Append(rune.Value is > 0x20 and < 0x7F ? rune.ToString() : $"{{{rune.Value:X}}}");
        }
        return codes.ToString();
    }
}
