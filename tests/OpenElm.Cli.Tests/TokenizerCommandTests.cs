using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class TokenizerCommandTests
{
    static readonly string Root = FindRoot();
    static readonly string Mistral = Path.Combine(Root, "samples/tokenizer/mistral");

    static string FindRoot()
    {
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "OpenElm.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("no OpenElm.slnx above the tests");
        }

        return folder;
    }

    static string Output(params string[] args)
    {
        (int code, string output, string error) = Openelm.Run(["tokenizer", .. args]);
        Assert.True(code == 0, error);
        return output.ReplaceLineEndings("\n");
    }

    static string Error(params string[] args)
    {
        (int code, string output, string error) = Openelm.Run(["tokenizer", .. args]);
        Assert.Equal((ExitCodes.UserInput, ""), (code, output));
        return error;
    }

    [Fact]
    public void Text_becomes_ids_and_ids_become_text()
    {
        string ids = Output("encode", Mistral, "Hello  world");
        Assert.Equal("22557 28705 1526\n", ids);
        Assert.Equal("Hello  world\n", Output(["decode", Mistral, .. ids.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)]));
    }

    [Fact]
    public void Options_of_encoding_are_passed_on()
    {
        Assert.Equal("1 22557 2\n", Output("encode", Path.Combine(Mistral, "tokenizer.model"), "Hello", "--bos", "--eos"));
        Assert.Equal("2 28705 13\n", Output("encode", Mistral, "</s>\n", "--special"));
        Assert.Equal("▁\" Hello \"\n", Output("encode", Mistral, "“Hello”", "--clean-up", "--pieces"));
    }

    [Fact]
    public void Json_holds_ids_pieces_and_offsets()
    {
        JsonElement piece = JsonDocument.Parse(Output("encode", Mistral, "Hello world", "--json")).RootElement[0][1];
        Assert.Equal((1526, "▁world", 5, 6), (piece.GetProperty("id").GetInt32(), piece.GetProperty("piece").GetString(), piece.GetProperty("offset").GetInt32(), piece.GetProperty("length").GetInt32()));
        JsonElement info = JsonDocument.Parse(Output("info", Mistral, "--json")).RootElement;
        Assert.Equal((32000, 32000, 256), (info.GetProperty("pad_id").GetInt32(), info.GetProperty("summary").GetProperty("pieces").GetInt32(), info.GetProperty("summary").GetProperty("bytes").GetInt32()));
        Assert.StartsWith("SentencePiece BPE, 32000 pieces: 31741 ordinary, 256 bytes, 2 control, 0 user-defined, 0 unused", Output("info", Mistral), StringComparison.Ordinal);
    }

    [Fact]
    public void A_trained_tokenizer_reads_files_of_lines_both_ways()
    {
        string folder = Directory.CreateTempSubdirectory("openelm-").FullName;
        try
        {
            string model = Path.Combine(folder, "tokenizer.model"), texts = Path.Combine(folder, "{texts}.txt"), ids = Path.Combine(folder, "ids.txt");
            File.WriteAllText(texts, "the first line\nthe second line\n\nthe “last”\n");
            Assert.Equal(model + Environment.NewLine, Output("train", texts, "--vocab-size", "300", "--character-coverage", "1", "--output", model));
            File.WriteAllText(ids, Output("encode", model, "--input", texts));
            Assert.Equal(File.ReadAllText(texts), Output("decode", model, "--input", ids));
            Assert.Contains("\"", Output("encode", model, "\"", "--pieces"), StringComparison.Ordinal); // cleaned quotes were learned
            Assert.DoesNotContain("“", Output("encode", model, "“", "--pieces"), StringComparison.Ordinal);
            Output("train", texts, "--vocab-size", "300", "--character-coverage", "1", "--output", model, "--raw");
            Assert.Contains("“", Output("encode", model, "“", "--pieces"), StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void What_the_user_got_wrong_is_said()
    {
        Assert.Contains("Give either TEXT or --input FILE", Error("encode", Mistral), StringComparison.Ordinal);
        Assert.Contains("Give either IDS or --input FILE", Error("decode", Mistral, "1", "--input", "x"), StringComparison.Ordinal);
        Assert.Contains("no/such", Error("info", "no/such"), StringComparison.Ordinal);
        Assert.Contains("damaged", Error("info", Path.Combine(Root, "samples/tokenizer/mistral/LICENSE")), StringComparison.Ordinal);
        Assert.Contains("40000", Error("decode", Mistral, "40000"), StringComparison.Ordinal);
        string missing = Error("train", "no/a.jsonl", "no/b.jsonl", "--output", "x.model");
        Assert.Contains("no/a.jsonl", missing, StringComparison.Ordinal);
        Assert.Contains("no/b.jsonl", missing, StringComparison.Ordinal);
    }
}
