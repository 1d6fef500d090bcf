using System.Text.Json;
using OpenElm.Checkpoints;

namespace OpenElm.Cli.Tests;

public sealed class ConvertCommandTests : IDisposable
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_llama2c_checkpoint_becomes_the_bundled_folder()
    {
        (int code, string output, string error) = Openelm.Run(
            "convert", Path.Combine(Stories, "stories260K.bin"), _folder["out"], "--tokenizer", Path.Combine(Stories, "tok512.bin"));
        Assert.Equal((0, _folder["out"] + Environment.NewLine), (code, output));
        Assert.Contains("epsilon", error); // Hugging Face's class would compute something else
        Assert.All(Directory.GetFiles(_folder["out"]), file => Assert.Equal(File.ReadAllBytes(Path.Combine(Stories, Path.GetFileName(file))), File.ReadAllBytes(file)));
        Assert.Equal(2, Openelm.Run("convert", Stories, _folder["out"]).Code); // exists
        Assert.Equal(0, Openelm.Run("convert", Stories, _folder["out"], "--overwrite").Code);
    }

    [Fact]
    public void Random_models_are_cut_and_changed_in_type()
    {
        (int code, string output, _) = Openelm.Run("convert", "--random", "gpt-test", "--seed", "3", _folder["random"], "--json");
        Assert.Equal(0, code);
        JsonElement random = JsonDocument.Parse(output).RootElement;
        Assert.Equal("float32", random.GetProperty("dtype").GetString());
        string mistral = Path.Combine(RepositoryFiles.Root, "samples", "tokenizer", "mistral", "tokenizer.model");
        (code, output, string error) = Openelm.Run(
            "convert", _folder["random"], _folder["small"], "--dtype", "bf16", "--tokenizer", mistral, "--vocab-rows", "tokenizer", "--json");
        Assert.True(code == 0, error);
        JsonElement small = JsonDocument.Parse(output).RootElement;
        Assert.Equal((32000, "bfloat16", true), (small.GetProperty("vocab_size").GetInt32(), small.GetProperty("dtype").GetString(), small.GetProperty("has_tokenizer").GetBoolean()));
        using ModelFolder folder = ModelFolder.Open(_folder["small"]);
        Assert.All(folder.Weights.Values, weight => Assert.Equal(DType.BF16, weight.DType));
        Assert.NotNull(folder.TokenizerPath);
    }

    [Fact]
    public void Every_format_is_written_checked_and_described()
    {
        Assert.Equal(0, Openelm.Run("convert", "--random", "gpt-test", _folder["model.gguf"]).Code); // the name says the format
        (string Destination, string Format, string[] Options)[] chain =
        [
            ("hf", "hugging_face", []),
            ("mlx", "mlx", ["--to", "mlx", "--dtype", "affine4x64"]),
            ("mlx-lm", "mlx_lm", ["--to", "mlx-lm", "--dtype", "affine8x32"]),
            ("q8.gguf", "gguf", ["--dtype", "q8_0"]),
        ];
        foreach ((string destination, string format, string[] options) in chain)
        {
            (int code, string output, string error) = Openelm.Run(["convert", _folder["model.gguf"], _folder[destination], "--json", .. options]);
            Assert.True(code == 0, error);
            JsonElement verification = JsonDocument.Parse(output).RootElement.GetProperty("verification");
            Assert.True(verification.GetProperty("passed").GetBoolean());
            Assert.Equal(96, verification.GetProperty("logits").GetProperty("positions").GetInt32());
            (code, output, error) = Openelm.Run("info", _folder[destination], "--json");
            Assert.True(code == 0, error);
            Assert.Equal(format, JsonDocument.Parse(output).RootElement.GetProperty("checkpoint").GetProperty("format").GetString());
        }

        (int exit, _, string log) = Openelm.Run("convert", _folder["hf"], _folder["bf16.gguf"], "--dtype", "bf16");
        Assert.Equal(0, exit);
        Assert.Contains("Checked: weights differ by at most", log);
        Assert.Contains("same likeliest token", log);
        (exit, _, log) = Openelm.Run("convert", _folder["hf"], _folder["again.gguf"], "--no-verify");
        Assert.Equal(0, exit);
        Assert.Contains("only their architectures and weights are compared", log);
        Assert.Contains("all weights are unchanged; models were not run", log);
    }

    [Fact]
    public void A_folder_is_split_into_files_of_the_wanted_size()
    {
        Assert.Equal(0, Openelm.Run("convert", "--random", "gpt-test", _folder["whole"]).Code);
        (int code, _, string error) = Openelm.Run("convert", _folder["whole"], _folder["split"], "--max-shard-size", "1");
        Assert.True(code == 0, error);
        string[] files = Directory.GetFiles(_folder["split"], "model-*.safetensors");
        Assert.True(files.Length > 1);
        using ModelFolder whole = ModelFolder.Open(_folder["whole"]), split = ModelFolder.Open(_folder["split"]);
        long largest = Math.Max(1_000_000, whole.Weights.Values.Max(weight => weight.ByteCount));
        Assert.All(files, file => Assert.InRange(new FileInfo(file).Length, 1, largest + 100_000)); // the header
        Assert.All(whole.Weights, weight => Assert.True(weight.Value.Bytes.SequenceEqual(split.Weights[weight.Key].Bytes)));
    }

    [Fact]
    public void A_training_checkpoint_of_CoreNet_says_what_was_derived()
    {
        string training = Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Tests", "Data", "torch", "training.pt");
        (int code, _, string error) = Openelm.Run("convert", training, _folder["out"]);
        Assert.True(code == 0, error);
        Assert.Contains("optimizer's state is left out", error);
        Assert.Contains("which are assumed", error);
        Assert.Contains("a CoreNet checkpoint", Openelm.Run("info", training).Output);
    }

    [Theory]
    [InlineData("a source and a destination")]
    [InlineData("a source and a destination", "MODEL", "--random", "gpt-test")]
    [InlineData("must be keep", "MODEL", "--vocab-rows", "few")]
    [InlineData("cannot be kept", "MODEL", "--vocab-rows", "513")]
    [InlineData("There is no file", "missing.bin")]
    [InlineData("does not have the type Q4_0", "MODEL", "--dtype", "q4_0")]
    [InlineData("GGUF cannot hold this model", "MODEL", "--to", "gguf")]
    [InlineData("is none of them", "MODEL", "--to", "mlx")]
    [InlineData("says its own architecture", "MODEL", "--config", "openelm-270m")]
    [InlineData("at least 1 megabyte", "MODEL", "--max-shard-size", "0")]
    [InlineData("keeps them in one file", "MODEL", "--max-shard-size", "1", "--to", "gguf")]
    [InlineData("'int3' not recognized", "MODEL", "--dtype", "int3")]
    public void Wrong_requests_exit_with_2(string message, params string[] arguments)
    {
        (int code, _, string error) = Openelm.Run(["convert", .. arguments.Select(argument => argument == "MODEL" ? Stories : argument), _folder["out"]]);
        Assert.Equal(2, code);
        Assert.Contains(message, error, StringComparison.OrdinalIgnoreCase);
        Assert.False(Directory.Exists(_folder["out"]));
    }
}
