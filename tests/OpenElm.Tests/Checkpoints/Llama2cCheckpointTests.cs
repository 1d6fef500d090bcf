using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

/// <summary>The layout of the import; that the imported model computes what it should is tested with its known outputs.</summary>
public sealed class Llama2cCheckpointTests : IDisposable
{
    const int Dim = 8, Hidden = 12, Layers = 2, Heads = 2, KvHeads = 1, Vocab = 5, Context = 6, HeadDim = 4;

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Matrices_are_fused_and_rows_of_heads_change_places()
    {
        using Checkpoint checkpoint = Checkpoint.Open(WriteNumbered(tied: true));
        Dictionary<string, float[]> weights = checkpoint.Weights.ToDictionary(pair => pair.Key, pair => pair.Value.ToFloats());
        Assert.Equal(TensorShapes.Of(checkpoint.Config).Select(shape => shape.Name).Order(), weights.Keys.Order());
        Assert.True(checkpoint.Config.ShareInputOutputLayers);

        // The file counts 0, 1, 2, …; offsets of the parts in it, in its order, all layers of a kind together:
        int attnNorm = Vocab * Dim, wq = attnNorm + (Layers * Dim), wk = wq + (Layers * Dim * Dim), wv = wk + (Layers * HeadDim * Dim);
        int wo = wv + (Layers * HeadDim * Dim), ffnNorm = wo + (Layers * Dim * Dim), w1 = ffnNorm + (Layers * Dim), w2 = w1 + (Layers * Hidden * Dim);
        int w3 = w2 + (Layers * Hidden * Dim), norm = w3 + (Layers * Hidden * Dim);
        Assert.Equal(Range(0, Vocab * Dim), weights["token_embeddings.weight"]);
        Assert.Equal(Range(attnNorm + Dim, Dim), weights["layers.1.attn_norm.weight"]);
        Assert.Equal(Range(w1 + (Hidden * Dim), Hidden * Dim), weights["layers.1.ffn.proj_1.weight"][..(Hidden * Dim)]); // gate first
        Assert.Equal(Range(w3 + (Hidden * Dim), Hidden * Dim), weights["layers.1.ffn.proj_1.weight"][(Hidden * Dim)..]);
        Assert.Equal(Range(w2, Hidden * Dim), weights["layers.0.ffn.proj_2.weight"]);
        Assert.Equal(Range(wo, Dim * Dim), weights["layers.0.attn.out_proj.weight"]);
        Assert.Equal(Range(ffnNorm, Dim), weights["layers.0.ffn_norm.weight"]);
        Assert.Equal(Range(norm, Dim), weights["norm.weight"]);

        // Rows of Q and K: 0, 2, 1, 3 of each head (pairs (0, 1), (2, 3) become (0, 2), (1, 3)); rows of V stay.
        float[] qkv = weights["layers.1.attn.qkv_proj.weight"];
        int q1 = wq + (Dim * Dim), k1 = wk + (HeadDim * Dim), v1 = wv + (HeadDim * Dim);
        int[] starts = [.. new[] { 0, 2, 1, 3, 4, 6, 5, 7 }.Select(row => q1 + (row * Dim)), .. new[] { 0, 2, 1, 3 }.Select(row => k1 + (row * Dim)), .. new[] { 0, 1, 2, 3 }.Select(row => v1 + (row * Dim))];
        Assert.Equal(starts.SelectMany(start => Range(start, Dim)), qkv);
    }

    [Fact]
    public void An_untied_head_stands_behind_the_tables()
    {
        using Checkpoint checkpoint = Checkpoint.Open(WriteNumbered(tied: false));
        int total = Count(tied: true);
        Assert.Equal(Range(total, Vocab * Dim), checkpoint.Weights["classifier.weight"].ToFloats());
    }

    [Fact]
    public void The_configuration_has_the_sizes_of_the_header()
    {
        using Checkpoint checkpoint = Checkpoint.Open(WriteNumbered(tied: true));
        OpenElmConfig config = checkpoint.Config;
        Assert.Equal([new LayerShape(Heads, KvHeads, Hidden), new LayerShape(Heads, KvHeads, Hidden)], config.Layers);
        Assert.Equal((Vocab, Context, 2 * Context, 1e-5, false), (config.VocabSize, config.MaxContextLength, config.RopeMaxLength, config.RmsNormEps, config.NormalizeQkProjections));
        OpenElmConfig again = OpenElmConfigJson.Read(OpenElmConfigJson.Write(config), "config.json");
        Assert.Equal(config.Layers, again.Layers);
    }

    [Fact]
    public void Damaged_files_are_named()
    {
        string path = WriteNumbered(tied: true);
        byte[] bytes = File.ReadAllBytes(path);
        string Message(byte[] content)
        {
            File.WriteAllBytes(path, content);
            return Assert.Throws<OpenElmException>(() => Llama2cCheckpoint.Open(path)).Message;
        }

        Assert.Contains("header implies", Message(bytes[..^4]));
        Assert.Contains("header implies", Message([.. bytes, 0, 0, 0, 0]));
        Assert.Contains("28 bytes", Message(bytes[..20]));
        byte[] wrong = [.. bytes];
        wrong[0] = 9; // 9 is no multiple of 2 heads
        Assert.Contains("no llama2.c checkpoint", Message(wrong));
        Assert.Contains("There is no file", Assert.Throws<OpenElmException>(() => Llama2cCheckpoint.Open(_folder["missing"])).Message);
    }

    static int Count(bool tied) => ((tied ? 1 : 2) * Vocab * Dim) + Dim + (2 * Context * HeadDim / 2)
        + (Layers * ((2 * Dim) + (2 * Dim * Dim) + (2 * HeadDim * Dim) + (3 * Hidden * Dim)));

    static float[] Range(int start, int count) => [.. Enumerable.Range(start, count).Select(i => (float)i)];

    string WriteNumbered(bool tied)
    {
        int[] header = [Dim, Hidden, Layers, Heads, KvHeads, tied ? Vocab : -Vocab, Context];
        File.WriteAllBytes(_folder["model.bin"], [.. MemoryMarshal.AsBytes(header.AsSpan()), .. MemoryMarshal.AsBytes(Range(0, Count(tied)).AsSpan())]);
        return _folder["model.bin"];
    }
}
