using System.Text.Json;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class GoldenEncodingTests
{
    static readonly string GoldenFile =
        Path.Combine(TestTokenizers.RepositoryRoot, "tests/OpenElm.Tests/Data/tokenizer/golden_encodings.jsonl.gz");

    [Theory]
    [InlineData("mistral")]
    [InlineData("llama")]
    public void All_682_golden_encodings_are_exact(string name)
    {
        SentencePieceTokenizer tokenizer = TestTokenizers.Named(name);
        int lines = 0;
        foreach (JsonElement line in TestTokenizers.JsonLines(GoldenFile))
        {
            string text = line.GetProperty("text").GetString()!;
            int[] expected = [.. line.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];
            Assert.Equal(expected, tokenizer.Encode(text)); // merges
            Assert.Equal(expected, tokenizer.Encode(text)); // remembers
            Assert.Equal(expected, tokenizer.EncodeWithOffsets(text).Select(piece => piece.Id));
            Assert.Equal(text.Replace('▁', ' '), tokenizer.Decode(expected)); // the symbol for a blank is one
            lines++;
        }
        Assert.Equal(682, lines);
    }
}
