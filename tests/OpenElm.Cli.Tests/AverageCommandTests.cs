using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Cli.Tests;

public sealed class AverageCommandTests
{
    static readonly OpenElmConfig Tiny = new() { VocabSize = 8, NumTransformerLayers = 1, ModelDim = 8, HeadDim = 4, FfnDimDivisor = 4, ShareInputOutputLayers = true };

    [Fact]
    public void Two_models_give_their_mean_and_one_document()
    {
        using var folder = new TemporaryFolder();
        Write(folder["a"], 1);
        Write(folder["b"], 4);
        (int code, string output, _) = Openelm.Run("average", folder["a"], folder["b"], "--output", folder["mean"], "--json");
        Assert.Equal(0, code);
        Assert.Equal(folder["mean"], JsonDocument.Parse(output).RootElement.GetProperty("output").GetString());
        using ModelFolder mean = ModelFolder.Open(folder["mean"]);
        Assert.All(mean.Weights.Values, tensor => Assert.Equal(2.5f, tensor.ToFloats()[0]));
        Assert.Equal(2, Openelm.Run("average", folder["a"], folder["b"], "--output", folder["mean"]).Code);
        Assert.Equal(0, Openelm.Run("average", folder["a"], folder["b"], "--output", folder["mean"], "--overwrite").Code);
    }

    [Theory]
    [InlineData("two checkpoints", "a")]
    [InlineData("one run", "a", "b", "--last", "2")]
    [InlineData("0 regular checkpoints", "a", "--last", "2")]
    public void What_cannot_be_averaged_is_refused(string reason, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        Write(folder["a"], 1);
        Write(folder["b"], 1);
        (int code, _, string error) = Openelm.Run(["average", .. arguments.Select(a => a.Length == 1 && char.IsLetter(a[0]) ? folder[a] : a), "--output", folder["mean"]]);
        Assert.Equal(2, code);
        Assert.Contains(reason, error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["mean"]));
    }

    static void Write(string path, float value) => ModelFolderWriter.Write(path, new ModelContent(Tiny, [.. TensorShapes.Of(Tiny).Select(t =>
    {
        float[] values = new float[t.Elements];
        Array.Fill(values, value);
        return TensorSource.Of(t.Name, t.Shape, values);
    })]));
}
