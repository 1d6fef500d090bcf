using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Checkpoints;

/// <summary>Our writer and reader, and files by hand; that llama.cpp reads and writes the same is proven by benchmarks/llama.cpp.</summary>
public sealed class GgufTests : IDisposable
{
    // 3 · 72 bytes of gate and 11 · 72 of up are no multiples of the alignment.
    static readonly OpenElmConfig Odd = new()
    {
        VocabSize = 37,
        MaxContextLength = 77,
        NumTransformerLayers = 3,
        ModelDim = 18,
        HeadDim = 6,
        QueryHeadsPerKvHead = 2,
        QkvMultipliers = (0.5, 1.0),
        FfnMultipliers = (0.5, 3.0),
        FfnDimDivisor = 3,
        RopeFreqConstant = 5000,
        RmsNormEps = 1e-5,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    readonly TemporaryFolder _folder = new();

    string File1 => _folder["x.gguf"];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    [InlineData(DType.F16)]
    public void Weights_and_architecture_survive(DType dtype)
    {
        Dictionary<string, float[]> expected = Write(Odd, dtype);
        using Checkpoint checkpoint = Checkpoint.Open(File1);
        Assert.Equal(CheckpointFormat.Gguf, checkpoint.Format);
        Assert.Equal(Odd.Layers, checkpoint.Config.Layers);
        Assert.Equal((37, 77, 18, 6), (checkpoint.Config.VocabSize, checkpoint.Config.MaxContextLength, checkpoint.Config.ModelDim, checkpoint.Config.HeadDim));
        Assert.Equal((5000, 1e-5), (checkpoint.Config.RopeFreqConstant, checkpoint.Config.RmsNormEps));
        Assert.All(expected, pair => Assert.Equal(pair.Value, checkpoint.Weights[pair.Key].ToFloats()));
        Assert.All(checkpoint.Weights.Values, weight => Assert.Equal(weight.Shape.Length == 1 ? DType.F32 : dtype, weight.Parts[0].DType));
        Assert.Equal(["blk.2.ffn_gate.weight", "blk.2.ffn_up.weight"], checkpoint.Weights["layers.2.ffn.proj_1.weight"].Parts.Select(part => part.Name));
        Assert.All(checkpoint.Weights.Values.SelectMany(weight => weight.Parts), part => Assert.Equal(0, part.Address % 32));
        Assert.Null(checkpoint.Tokenizer);
    }

    [Theory]
    [InlineData(DType.Q8_0)]
    [InlineData(DType.Q4_0)]
    [InlineData(DType.Q4_1)]
    [InlineData(DType.Q5_0)]
    [InlineData(DType.Q5_1)]
    [InlineData(DType.Q4_K)]
    [InlineData(DType.Q5_K)]
    [InlineData(DType.Q6_K)]
    public void Blocks_are_copied_as_they_are(DType dtype)
    {
        OpenElmConfig config = Odd with { ModelDim = 256, HeadDim = 64, FfnDimDivisor = 256, QueryHeadsPerKvHead = 4, NumTransformerLayers = 1 };
        Write(config, DType.F32);
        using Checkpoint plain = Checkpoint.Open(File1);
        GgufWriter.Write(_folder["q.gguf"], CheckpointWriter.Content(plain, CheckpointFormat.Gguf, dtype));
        using Checkpoint first = Checkpoint.Open(_folder["q.gguf"]);
        Assert.All(first.Weights.Values, weight => Assert.Equal(weight.Shape.Length == 1 ? DType.F32 : dtype, weight.Parts[0].DType));
        GgufWriter.Write(_folder["again.gguf"], CheckpointWriter.Content(first, CheckpointFormat.Gguf, null));
        Assert.Equal(File.ReadAllBytes(_folder["q.gguf"]), File.ReadAllBytes(_folder["again.gguf"]));
    }

    [Fact]
    public void Rows_that_are_no_whole_blocks_are_named()
    {
        Write(Odd, DType.F32);
        using Checkpoint plain = Checkpoint.Open(File1);
        Assert.Contains("token_embeddings.weight has rows of 18 elements, which are no multiple of Q8_0's blocks of 32",
            Assert.Throws<OpenElmException>(() => CheckpointWriter.Content(plain, CheckpointFormat.Gguf, DType.Q8_0)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Widths_of_a_shipped_model_give_its_configuration()
    {
        OpenElmConfig config = NamedConfigs.Get("gpt-test") with { VocabSize = 50 };
        Write(config, DType.BF16);
        using Checkpoint checkpoint = Checkpoint.Open(File1);
        Assert.Equal(config, checkpoint.Config);
        Assert.Contains("gpt-test", Assert.Single(checkpoint.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void A_tokenizer_gives_the_same_ids_and_padding_is_dropped()
    {
        var original = SentencePieceTokenizer.Load(Path.Combine(RepositoryFiles.Root, "samples", "tokenizer", "mistral", "tokenizer.model"));
        OpenElmConfig config = Odd with { VocabSize = original.PieceCount + 128 };
        GgufWriter.Write(File1, RandomModel.Create(config, 1) with { Tokenizer = original.ModelBytes });
        using Checkpoint checkpoint = Checkpoint.Open(File1);
        var read = SentencePieceTokenizer.Parse(checkpoint.Tokenizer!.Value.Span);
        Assert.Equal((original.PieceCount, original.BosId, original.EosId, original.UnknownId, original.PadId), (read.PieceCount, read.BosId, read.EosId, read.UnknownId, read.PadId));
        foreach (string text in new[] { "Once upon a time", "  two blanks, 123 numbers\n\nand Grüße 给 🙂\t.", "<s>", "" })
        {
            Assert.Equal(original.Encode(text), read.Encode(text));
            Assert.Equal(text, read.Decode(read.Encode(text)));
        }

        using GgufFile file = GgufFile.Open(File1);
        Assert.Equal("[PAD32005]", file.Metadata.Array<string>(GgufKeys.Tokens)![32005]);
        Assert.Equal(5, file.Metadata.Array<int>(GgufKeys.TokenTypes)![32005]);
    }

    [Fact]
    public void What_llama_cpp_cannot_express_is_refused_in_one_sentence()
    {
        string message = Assert.Throws<OpenElmException>(() => GgufWriter.Write(File1, RandomModel.Create(Odd with { FfnWithGlu = false, NormalizeQkProjections = false, ShareInputOutputLayers = false }, 1))).Message;
        Assert.Equal("GGUF cannot hold this model: llama.cpp's openelm always has a head tied to the embedding and a gated feed-forward network and normalised queries and keys; write a Hugging Face folder instead.", message);
        Assert.False(File.Exists(File1));
        Write(Odd, DType.F32);
        Assert.Contains("exists", Assert.Throws<OpenElmException>(() => GgufWriter.Write(File1, RandomModel.Create(Odd, 1))).Message, StringComparison.Ordinal);
        Assert.Contains("Affine4x32, which GGUF does not have", Assert.Throws<OpenElmException>(() => GgufWriter.Write(
            _folder["y.gguf"], new ModelContent(Odd, [new TensorSource("token_embeddings.weight", DType.Affine4x32, [37, 32], _ => { })]))).Message, StringComparison.Ordinal);
    }

    // A file of another writer: version 2, its own alignment, one number for all layers, unsigned types, no optional key.
    [Fact]
    public void Other_writers_choices_are_understood()
    {
        GgufFileByHand file = ByHand();
        file.Version = 2;
        file.Alignment = 8;
        file.Write(File1);
        using Checkpoint checkpoint = Checkpoint.Open(File1);
        Assert.Equal([new LayerShape(2, 2, 3), new LayerShape(2, 2, 3)], checkpoint.Config.Layers);
        Assert.Equal(10000, checkpoint.Config.RopeFreqConstant);
        Assert.Equal(2, checkpoint.Config.HeadDim);
        float[] gate = checkpoint.Weights["layers.1.ffn.proj_1.weight"].ToFloats();
        Assert.Equal(file.Values("blk.1.ffn_gate.weight").Concat(file.Values("blk.1.ffn_up.weight")), gate);
    }

    [Theory]
    [InlineData("general.architecture", "llama", "architecture llama")]
    [InlineData("openelm.block_count", 3u, "layers.2.attn_norm.weight is missing")]
    [InlineData("openelm.block_count", 0u, "openelm.block_count is 0")]
    [InlineData("openelm.block_count", 4_000_000_000u, "must be a whole number below 2^31")]
    [InlineData("openelm.block_count", "two", "openelm.block_count is two")]
    [InlineData("openelm.attention.head_count_kv", 4u, "multiple of KV heads")]
    [InlineData("openelm.embedding_length", 6u, "implies")]
    [InlineData("openelm.rope.dimension_count", 4u, "openelm.rope.dimension_count is 4")]
    [InlineData("openelm.rope.scaling.type", "yarn", "scaled RoPE")]
    [InlineData("openelm.rope.freq_base", float.NaN, "rope_freq_constant is NaN")]
    [InlineData("openelm.attention.layer_norm_rms_epsilon", 1u, "must be a floating-point number")]
    [InlineData("general.alignment", 3u, "power of two")]
    public void Metadata_that_does_not_fit_is_named(string key, object value, string problem)
    {
        GgufFileByHand file = ByHand();
        file.Metadata[key] = value;
        file.Write(File1);
        Assert.Contains(problem, Assert.Throws<OpenElmException>(() => Checkpoint.Open(File1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Headers_that_do_not_fit_are_named()
    {
        string Message(Action<GgufFileByHand> change)
        {
            GgufFileByHand file = ByHand();
            change(file);
            file.Write(File1);
            return Assert.Throws<OpenElmException>(() => Checkpoint.Open(File1)).Message;
        }

        Assert.Contains("version 1", Message(file => file.Version = 1), StringComparison.Ordinal);
        Assert.Contains("big-endian", Message(file => file.Version = 0x03000000), StringComparison.Ordinal);
        Assert.Contains("number of tensors is 18446744073709551615", Message(file => file.TensorCount = ulong.MaxValue), StringComparison.Ordinal);
        Assert.Contains("number of metadata pairs is 9223372036854775807", Message(file => file.PairCount = long.MaxValue), StringComparison.Ordinal);
        Assert.Contains("has the type Q2_K", Message(file => file.TypeOf = _ => 10), StringComparison.Ordinal);
        Assert.Contains("which Q4_0 cannot have", Message(file => file.TypeOf = _ => 2), StringComparison.Ordinal);
        Assert.Contains("the data of the tensors blk.0.attn_k_norm.weight and", Message(file => file.OffsetOf = (_, _) => 0), StringComparison.Ordinal);
        Assert.Contains("at offset 18446744073709551584", Message(file => file.OffsetOf = (_, _) => ulong.MaxValue - 31), StringComparison.Ordinal);
        Assert.Contains("at offset 33", Message(file => file.OffsetOf = (_, offset) => offset + 33), StringComparison.Ordinal);
        Assert.Contains("blk.0.other.weight is no weight", Message(file => file.Rename("blk.0.ffn_up.weight", "blk.0.other.weight")), StringComparison.Ordinal);
        Assert.Contains("must have the same sizes", Message(file => file.Tensors["blk.0.ffn_up.weight"] = [2, 4]), StringComparison.Ordinal);
        Assert.Contains("no matrix token_embd.weight", Message(file => file.Rename("token_embd.weight", "x")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_vocabulary_whose_arrays_do_not_fit_is_named()
    {
        GgufFileByHand file = ByHand();

        file.Metadata["tokenizer.ggml.model"] = "llama";
        file.Metadata["tokenizer.ggml.tokens"] = new[] { "a", "b" };
        file.Metadata["tokenizer.ggml.scores"] = new[] { 1f };
        file.Metadata["tokenizer.ggml.token_type"] = new[] { 1, 1 };
        file.Write(File1);
        using Checkpoint checkpoint = Checkpoint.Open(File1);
        Assert.Contains("there must be one of each a token", Assert.Throws<OpenElmException>(() => checkpoint.Tokenizer).Message, StringComparison.Ordinal);
    }

    static GgufFileByHand ByHand() => new()
    {
        Metadata =
        {
            ["general.architecture"] = "openelm",
            ["openelm.block_count"] = 2u,
            ["openelm.context_length"] = 16u,
            ["openelm.embedding_length"] = 4u,
            ["openelm.feed_forward_length"] = 3u,
            ["openelm.attention.head_count"] = 2u,
            ["openelm.attention.layer_norm_rms_epsilon"] = 1e-6f,
        },
        Tensors = new(StringComparer.Ordinal)
        {
            ["token_embd.weight"] = [5, 4],
            ["output_norm.weight"] = [4],
            ["blk.0.attn_norm.weight"] = [4],
            ["blk.0.attn_qkv.weight"] = [12, 4],
            ["blk.0.attn_q_norm.weight"] = [2],
            ["blk.0.attn_k_norm.weight"] = [2],
            ["blk.0.attn_output.weight"] = [4, 4],
            ["blk.0.ffn_norm.weight"] = [4],
            ["blk.0.ffn_gate.weight"] = [3, 4],
            ["blk.0.ffn_up.weight"] = [3, 4],
            ["blk.0.ffn_down.weight"] = [4, 3],
            ["blk.1.attn_norm.weight"] = [4],
            ["blk.1.attn_qkv.weight"] = [12, 4],
            ["blk.1.attn_q_norm.weight"] = [2],
            ["blk.1.attn_k_norm.weight"] = [2],
            ["blk.1.attn_output.weight"] = [4, 4],
            ["blk.1.ffn_norm.weight"] = [4],
            ["blk.1.ffn_gate.weight"] = [3, 4],
            ["blk.1.ffn_up.weight"] = [3, 4],
            ["blk.1.ffn_down.weight"] = [4, 3],
        },
    };

    Dictionary<string, float[]> Write(OpenElmConfig config, DType dtype)
    {
        ModelContent content = RandomModel.Create(config, 3, dtype);
        GgufWriter.Write(File1, content);
        return content.Weights.ToDictionary(weight => weight.Name, weight => weight.ToFloats());
    }
}
