using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

public sealed class Llama2cTokenizerTests
{
    static readonly string Folder = Path.Combine(TestTokenizers.RepositoryRoot, "samples/stories260k");
    static readonly string File512 = Path.Combine(Folder, "tok512.bin");

    [Fact]
    public void The_stories_are_decoded()
    {
        SentencePieceTokenizer tokenizer = Llama2cTokenizer.Read(File512, 512);
        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "golden.json"))).RootElement;
        int[] ids = [.. golden.GetProperty("greedy_ids").EnumerateArray().Select(id => id.GetInt32())];
        Assert.Equal(golden.GetProperty("expected_text").GetString(), tokenizer.Decode(ids));
    }

    [Fact]
    public void Texts_get_the_ids_of_llama2c()
    {
        SentencePieceTokenizer tokenizer = Llama2cTokenizer.Read(File512, 512);
        var reference = new PlainLlama2c(File.ReadAllBytes(File512), 512);
        string[] texts =
        [
            "", " ", "Once upon a time, there was a little girl named Lily.", "  two  blanks \n\n tab\t", "naïve 日本語 😀 “quotes” – â€™",
            "<0x41> <s> </s>", .. TestTokenizers.SampleTexts().Take(20).Select(text => text[..Math.Min(text.Length, 1500)]),
        ];
        foreach (string text in texts)
        {
            Assert.Equal(reference.Encode(text), tokenizer.Encode(text));
        }
    }

    [Fact]
    public void Written_again_it_is_the_same_file()
    {
        string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.bin");
        try
        {
            Llama2cTokenizer.Write(Llama2cTokenizer.Read(File512, 512), path);
            Assert.Equal(File.ReadAllBytes(File512), File.ReadAllBytes(path));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(511, "bytes are left over")]
    [InlineData(513, "it ends before piece 512")]
    public void Another_number_of_pieces_is_an_error(int pieces, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => Llama2cTokenizer.Read(File512, pieces)).Message, StringComparison.Ordinal);

    [Fact]
    public void Another_file_is_an_error()
    {
        string path = Path.Combine(Folder, "golden.json");
        Assert.StartsWith(path, Assert.Throws<OpenElmException>(() => Llama2cTokenizer.Read(path, 512)).Message, StringComparison.Ordinal);
    }

    /// <summary>The encoding of llama2.c's run.c: characters by look-up, else bytes; then the best-scored merge, leftmost first.</summary>
    sealed class PlainLlama2c
    {
        readonly string[] _pieces;
        readonly float[] _scores;
        readonly Dictionary<string, int> _ids = [];

        public PlainLlama2c(byte[] file, int count)
        {
            _pieces = new string[count];
            _scores = new float[count];
            int at = 4;
            for (int id = 0; id < count; id++)
            {
                _scores[id] = BinaryPrimitives.ReadSingleLittleEndian(file.AsSpan(at));
                int length = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(at + 4));
                _pieces[id] = Encoding.UTF8.GetString(file, at + 8, length);
                _ids[_pieces[id]] = id;
                at += 8 + length;
            }
        }

        public List<int> Encode(string text)
        {
            var ids = new List<int>();
            if (text.Length == 0)
            {
                return ids;
            }
            ids.Add(_ids[" "]);
            foreach (Rune rune in text.EnumerateRunes())
            {
                if (_ids.TryGetValue(rune.ToString(), out int id))
                {
                    ids.Add(id);
                }
                else
                {
                    ids.AddRange(Encoding.UTF8.GetBytes(rune.ToString()).Select(b => b + 3));
                }
            }
            while (true)
            {
                (float score, int at, int id) best = (-1e10f, -1, -1);
                for (int i = 0; i + 1 < ids.Count; i++)
                {
                    if (_ids.TryGetValue(_pieces[ids[i]] + _pieces[ids[i + 1]], out int id) && _scores[id] > best.score)
                    {
                        best = (_scores[id], i, id);
                    }
                }
                if (best.at < 0)
                {
                    return ids;
                }
                ids[best.at] = best.id;
                ids.RemoveAt(best.at + 1);
            }
        }
    }
}
