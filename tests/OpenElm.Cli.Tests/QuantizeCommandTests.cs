using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Cli.Tests;

public sealed class QuantizeCommandTests : IDisposable
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_trained_model_keeps_its_perplexity_in_8_bits_and_loses_some_in_4()
    {
        string text = WriteStory();
        JsonElement eight = Json("quantize", Stories, "--format", "MLX8", "--group", "32", "--output", _folder["8"], "--text", text, "--json");
        JsonElement four = Json("quantize", Stories, "--format", "mlx4", "--group", "32", "--output", _folder["4"], "--text", text, "--json");

        double before = Number(eight, "before", "perplexity");
        Assert.Equal(1, Number(eight, "before", "top1_agreement"));
        Assert.InRange(Number(eight, "after", "perplexity") / before, 0.99, 1.01);
        Assert.InRange(Number(eight, "after", "top1_agreement"), 0.97, 1);
        Assert.InRange(Number(four, "after", "perplexity") / before, 0.9, 1.5);
        Assert.InRange(Number(four, "after", "top1_agreement"), 0.75, 0.999);
        Assert.True(four.GetProperty("rmse").GetDouble() > 10 * eight.GetProperty("rmse").GetDouble());

        // The perplexity is what the verb of that name says of the written folder.
        JsonElement perplexity = Json("perplexity", _folder["4"], "--input", text, "--json");
        Assert.Equal(perplexity.GetProperty("per_token").GetDouble(), Number(four, "after", "perplexity"), 1e-9);
        using var written = Checkpoint.Open(_folder["4"]);
        Assert.Equal(DType.Affine4x32, written.Weights[TensorNames.Layer(0, "attn.qkv_proj")].Parts[0].DType);
        Assert.Equal(DType.BF16, written.Weights[TensorNames.Embedding].Parts[0].DType);
    }

    [Fact]
    public void Calibration_shows_its_gain()
    {
        string text = WriteStory();
        (int code, string output, string error) = Openelm.Run(
            "quantize", Stories, "--format", "MLX4", "--group", "32", "--output", _folder["out"], "--text", text, "--calibrate", text, "--tokens", "150");

        Assert.True(code == 0, error);
        Assert.Contains("after, calibrated", output);
        Assert.Contains("without calibration", output);
        Assert.Contains("calibrating on 150 tokens", error);
        Assert.Equal([_folder["out"]], Directory.GetFileSystemEntries(_folder.Path).Where(entry => entry != text)); // the one without is gone
    }

    [Fact]
    public void Types_sizes_and_errors_are_listed_and_fallbacks_are_told()
    {
        string model = WriteRandom();
        (int code, string output, string error) = Openelm.Run("quantize", model, "--format", "Q4_K_M", "--output", _folder["m.gguf"]);

        Assert.True(code == 0, error);
        Assert.Matches(@"embedding +Q6_K +76,800 +6\.562 ", output);
        Assert.Matches(@"qkv_proj +2× Q4_K, 1× Q6_K ", output);
        Assert.Matches(@"proj_2 +2× Q5_0, 1× Q8_0 ", output);
        Assert.Contains("warning: proj_2 (1): rows of 320 are no multiples of Q6_K's 256: Q8_0 instead", error);
        Assert.Contains("--text", error); // says how to get perplexity
        Assert.Matches(@"m\.gguf: .* bits per weight, relative error \d", output);
        using var written = Checkpoint.Open(_folder["m.gguf"]);
        Assert.Equal(CheckpointFormat.Gguf, written.Format);
        Assert.Equal(DType.Q4_K, written.Weights[TensorNames.Layer(1, "attn.out_proj")].Parts[0].DType);
        Assert.Equal([DType.Q4_K, DType.Q4_K], written.Weights[TensorNames.Layer(1, "ffn.proj_1")].Parts.Select(part => part.DType)); // gate and up
    }

    [Fact]
    public void What_was_quantised_before_is_told()
    {
        string model = WriteRandom();
        Assert.Equal(0, Openelm.Run("quantize", model, "--format", "Q8_0", "--output", _folder["8.gguf"]).Code);
        (int code, _, string error) = Openelm.Run("quantize", _folder["8.gguf"], "--format", "Q4_0", "--output", _folder["4.gguf"]);

        Assert.True(code == 0, error);
        Assert.Contains("is quantised already (token_embeddings.weight is Q8_0); errors add up", error);
    }

    [Theory]
    [InlineData("There is no format Q3; there are Q4_K_M, Q8_0", "--format", "Q3")]
    [InlineData("There is no type Q9; there are Q8_0", "--format", "MLX4", "--embeddings", "Q9")]
    [InlineData("MLX keeps embedding and head in one plain type", "--format", "MLX4", "--embeddings", "Q6_K")]
    [InlineData("will be a GGUF file; name one that ends in .gguf.", "--format", "Q8_0")]
    [InlineData("Q8_0 is a recipe of GGUF; choose gguf as the format.", "--format", "Q8_0", "--to", "mlx")]
    [InlineData("MLX8 is a recipe for MLX; choose mlx or mlx-lm as the format.", "--format", "MLX8", "--to", "gguf")]
    [InlineData("There is no file missing.txt.", "--format", "MLX4", "--text", "missing.txt")]
    [InlineData("There is no file missing.txt.", "--format", "MLX4", "--calibrate", "missing.txt")]
    [InlineData("--tokens must be 1 or more", "--format", "MLX4", "--tokens", "0")]
    public void Wrong_requests_exit_with_2(string message, params string[] arguments)
    {
        (int code, _, string error) = Openelm.Run(["quantize", Stories, "--output", _folder["out"], .. arguments]);

        Assert.Equal(2, code);
        Assert.Contains(message, error);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void A_model_that_the_format_cannot_express_is_refused()
    {
        (int code, _, string error) = Openelm.Run("quantize", Stories, "--format", "Q8_0", "--output", _folder["out.gguf"]);

        Assert.Equal(2, code);
        Assert.Contains("GGUF cannot hold this model: llama.cpp's openelm always has normalised queries and keys", error);
    }

    [Fact]
    public void An_existing_output_is_kept_unless_it_may_be_replaced()
    {
        string[] command = ["quantize", Stories, "--format", "MLX8", "--output", _folder["out"]];
        Assert.Equal(0, Openelm.Run(command).Code);
        (int code, _, string error) = Openelm.Run(command);
        Assert.Equal(2, code);
        Assert.Contains("exists; remove it, choose another name, or overwrite it", error);
        Assert.Equal(0, Openelm.Run([.. command, "--overwrite"]).Code);
    }

    static JsonElement Json(params string[] arguments)
    {
        (int code, string output, string error) = Openelm.Run(arguments);
        Assert.True(code == 0, error);
        return JsonDocument.Parse(output).RootElement;
    }

    static double Number(JsonElement document, string model, string name) => document.GetProperty(model).GetProperty(name).GetDouble();

    // What the model itself tells, so that it is text of its kind.
    string WriteStory()
    {
        string path = _folder["story.txt"];
        File.WriteAllText(path, Openelm.Run("generate", Stories, "--prompt", "Once upon a time", "--max-tokens", "250", "--temperature", "0.8", "--seed", "1").Output);
        return path;
    }

    string WriteRandom()
    {
        string path = _folder["random"];
        ModelFolderWriter.Write(path, RandomModel.Create(new OpenElmConfig
        {
            VocabSize = 300,
            NumTransformerLayers = 3,
            ModelDim = 256,
            HeadDim = 16,
            FfnMultipliers = 1.25,
            FfnDimDivisor = 64,
            NormalizeQkProjections = true,
            ShareInputOutputLayers = true,
        }, 1));
        return path;
    }
}
