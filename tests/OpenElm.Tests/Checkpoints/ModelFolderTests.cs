using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

public sealed class ModelFolderTests
{
    static readonly OpenElmConfig Tiny = new()
    {
        VocabSize = 12,
        NumTransformerLayers = 2,
        ModelDim = 8,
        HeadDim = 4,
        FfnDimDivisor = 4,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = false,
    };

    [Theory]
    [InlineData(5_000_000_000, 1)]
    [InlineData(1000, 5)]
    public void A_folder_reads_back_as_written_in_one_file_or_several(long maxShardBytes, int atLeastFiles)
    {
        using var folder = new TemporaryFolder();
        float[][] values = Write(folder["model"], Tiny, maxShardBytes);
        using ModelFolder model = ModelFolder.Open(folder["model"]);

        Assert.Equal(Tiny, model.Config);
        Assert.True(Directory.GetFiles(folder["model"], "*.safetensors").Length >= atLeastFiles);
        Assert.Equal(values, TensorShapes.Of(Tiny).Select(t => model.Weights[t.Name].ToFloats()));
        Assert.DoesNotContain(Directory.EnumerateFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories), path => path.EndsWith(".partial", StringComparison.Ordinal));
    }

    [Fact]
    public void Weights_that_do_not_fit_are_all_named()
    {
        using var folder = new TemporaryFolder();
        Write(folder["model"], Tiny, long.MaxValue);
        File.WriteAllText(Path.Combine(folder["model"], "config.json"), OpenElmConfigJson.Write(Tiny with { VocabSize = 13, NumTransformerLayers = 1, FfnWithGlu = false }));
        string message = Assert.Throws<OpenElmException>(() => ModelFolder.Open(folder["model"])).Message;
        Assert.Contains("token_embeddings.weight is [12, 8]; config.json implies [13, 8]", message, StringComparison.Ordinal);
        Assert.Contains("layers.0.ffn.proj_1.weight is", message, StringComparison.Ordinal);
        Assert.Contains("layers.1.attn_norm.weight is no weight of this model", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(100)]
    [InlineData(-1)]
    public void A_truncated_file_is_refused_by_name(int keep)
    {
        using var folder = new TemporaryFolder();
        Write(folder["model"], Tiny, long.MaxValue);
        string path = Path.Combine(folder["model"], "model.safetensors");
        byte[] bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, keep < 0 ? bytes[..^1] : bytes[..keep]);
        Assert.Contains("model.safetensors", Assert.Throws<OpenElmException>(() => ModelFolder.Open(folder["model"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failed_write_leaves_the_old_folder_and_no_rest()
    {
        using var folder = new TemporaryFolder();
        float[][] values = Write(folder["model"], Tiny, long.MaxValue);
        var broken = new ModelContent(Tiny, [new TensorSource("norm.weight", DType.F32, [8], _ => throw new IOException("disk full"))]);
        Assert.Throws<IOException>(() => ModelFolderWriter.Write(folder["model"], broken, overwrite: true));
        using ModelFolder model = ModelFolder.Open(folder["model"]);
        Assert.Equal(values[0], model.Weights["token_embeddings.weight"].ToFloats());
        Assert.Single(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void Half_precision_types_convert_exactly()
    {
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(folder["x.safetensors"],
        [
            new TensorSource("bf16", DType.BF16, [2], s => s.Write([0x80, 0x3F, 0x00, 0xC0])),
            new TensorSource("f16", DType.F16, [2], s => s.Write([0x00, 0x3C, 0x00, 0xC0])),
        ]);
        using SafetensorsFile file = SafetensorsFile.Open(folder["x.safetensors"]);
        Assert.Equal([1f, -2f], file["bf16"].ToFloats());
        Assert.Equal([1f, -2f], file["f16"].ToFloats());
    }

    static float[][] Write(string path, OpenElmConfig config, long maxShardBytes)
    {
        var random = new Random(1);
        float[][] values = [.. TensorShapes.Of(config).Select(t => Enumerable.Range(0, (int)t.Elements).Select(_ => random.NextSingle()).ToArray())];
        ModelFolderWriter.Write(path, new ModelContent(config, [.. TensorShapes.Of(config).Zip(values, (t, v) => TensorSource.Of(t.Name, t.Shape, v))]) { MaxShardBytes = maxShardBytes });
        return values;
    }

    [Fact]
    public void Files_that_are_links_are_followed()
    {
        using var folder = new TemporaryFolder();
        ModelFolderWriter.Write(folder["model"], RandomModel.Create(NamedConfigs.Get("gpt-test"), 1));
        Directory.CreateDirectory(folder["links"]);
        foreach (string file in Directory.GetFiles(folder["model"]))
        {
            // Two links in a row, as in Hugging Face's cache.
            File.CreateSymbolicLink(folder[Path.GetFileName(file) + ".blob"], file);
            File.CreateSymbolicLink(Path.Combine(folder["links"], Path.GetFileName(file)), folder[Path.GetFileName(file) + ".blob"]);
        }

        using ModelFolder linked = ModelFolder.Open(folder["links"]), direct = ModelFolder.Open(folder["model"]);
        Assert.All(direct.Weights, pair => Assert.True(pair.Value.Bytes.SequenceEqual(linked.Weights[pair.Key].Bytes)));
        Assert.Equal(CheckpointFacts.Read(folder["model"]).Files, CheckpointFacts.Read(folder["links"]).Files);
    }
}
