using System.IO.Compression;
using System.Text;
using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Mlx;
using OpenElm.Configuration;

namespace OpenElm.Tests.Checkpoints;

/// <summary>Folders of Apple's MLX example and of mlx-lm: by hand as MLX stores them, and written by us.</summary>
public sealed class MlxTests : IDisposable
{
    static readonly OpenElmConfig Test = NamedConfigs.Get("gpt-test") with { VocabSize = 40 };

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // mlx.core.quantize's layout: eight levels of 4 bits in a 32-bit number, the first in its lowest bits.
    [Fact]
    public void Levels_are_unpacked_from_the_lowest_bits()
    {
        uint[] words = [0x76543210, 0xFEDCBA98, 0x00000001, 0xF0000000, 0x11111111, 0x22222222, 0x33333333, 0x44444444];
        float[] expected = [.. words.SelectMany(word => Enumerable.Range(0, 8).Select(i => (0.5f * ((word >> (4 * i)) & 15)) - 3))];
        Assert.Equal([-3f, -2.5f, -2f, -1.5f], expected[..4]);
        Checkpoint checkpoint = WithQuantisedHead(words, rows: 1, [0.5f, 0.5f], [-3f, -3f], 32);
        Assert.Equal(DType.Affine4x32, checkpoint.Weights["classifier.weight"].Parts[0].DType);
        Assert.Equal(expected, checkpoint.Weights["classifier.weight"].ToFloats());
        checkpoint.Dispose();

        uint[] bytes = [.. Enumerable.Range(0, 16).Select(i => (uint)((4 * i) | (((4 * i) + 1) << 8) | (((4 * i) + 2) << 16) | (((4 * i) + 3) << 24)))];
        checkpoint = WithQuantisedHead(bytes, rows: 1, [0.25f], [8f], 64);
        Assert.Equal(DType.Affine8x64, checkpoint.Weights["classifier.weight"].Parts[0].DType);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => (0.25f * i) + 8), checkpoint.Weights["classifier.weight"].ToFloats());
        checkpoint.Dispose();
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    [InlineData(DType.F16)]
    public void Apples_folder_survives(DType dtype)
    {
        ModelContent content = RandomModel.Create(Test, 5, dtype);
        MlxFolderWriter.Write(_folder["mlx"], content with { Tokenizer = new byte[] { 1, 2 } });
        using Checkpoint checkpoint = Checkpoint.Open(_folder["mlx"]);
        Assert.Equal(CheckpointFormat.Mlx, checkpoint.Format);
        Assert.Equal(Test, checkpoint.Config);
        Assert.Equal(new byte[] { 1, 2 }, checkpoint.Tokenizer!.Value.ToArray());
        Assert.All(content.Weights, weight => Assert.Equal(weight.ToFloats(), checkpoint.Weights[weight.Name].ToFloats()));
        Assert.Equal("""{"model_name":"gpt-test","vocab_size":40,"max_context_length":2048}""", Compact(File.ReadAllText(Path.Combine(_folder["mlx"], "config.json"))));
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(_folder["mlx"], "weights.safetensors"));
        Assert.Contains("layers.0.attn.qkv_proj.weight", file.Tensors.Keys); // CoreNet's names
        Assert.Equal("mlx", file.Metadata["format"]);
    }

    [Theory]
    [InlineData(MlxLayout.Apple, CheckpointFormat.Mlx, DType.Affine4x32, DType.F16)]
    [InlineData(MlxLayout.Apple, CheckpointFormat.Mlx, DType.Affine4x64, DType.BF16)]
    [InlineData(MlxLayout.Apple, CheckpointFormat.Mlx, DType.Affine8x64, DType.F32)]
    [InlineData(MlxLayout.MlxLm, CheckpointFormat.MlxLm, DType.Affine4x64, DType.F16)]
    [InlineData(MlxLayout.MlxLm, CheckpointFormat.MlxLm, DType.Affine8x32, DType.BF16)]
    public void Quantised_folders_have_three_tensors_a_matrix_and_the_same_values(MlxLayout layout, CheckpointFormat format, DType affine, DType plain)
    {
        ModelFolderWriter.Write(_folder["plain"], RandomModel.Create(Test, 5, plain));
        using Checkpoint source = Checkpoint.Open(_folder["plain"]);
        ModelContent content = ModelConversion.Content(source, weight => MlxFolderWriter.Quantises(layout, weight.Name) ? affine : plain);
        MlxFolderWriter.Write(_folder["q"], content, layout);
        using Checkpoint quantised = Checkpoint.Open(_folder["q"]);
        Assert.Equal((format, source.Config.Layers[0]), (quantised.Format, quantised.Config.Layers[0]));
        Assert.Equal(layout == MlxLayout.MlxLm ? affine : plain, quantised.Weights["token_embeddings.weight"].Parts[0].DType);
        Assert.All(content.Weights, weight => Assert.Equal(weight.ToFloats(), quantised.Weights[weight.Name].ToFloats()));

        string prefix = layout == MlxLayout.MlxLm ? "transformer." : "";
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(_folder["q"], layout == MlxLayout.MlxLm ? "model.safetensors" : "weights.safetensors"));
        TensorView levels = file[prefix + "layers.0.ffn.proj_1.weight"], scales = file[prefix + "layers.0.ffn.proj_1.scales"], biases = file[prefix + "layers.0.ffn.proj_1.biases"];
        int bits = affine.ToString()[6] - '0';
        Assert.Equal((DType.U32, plain, plain), (levels.DType, scales.DType, biases.DType));
        Assert.Equal([128 * bits / 32L, 128 / affine.BlockElements()], [levels.Shape[1], scales.Shape[1]]);
        Assert.Contains($"\"quantization\":{{\"group_size\":{affine.BlockElements()},\"bits\":{bits}}}", Compact(File.ReadAllText(Path.Combine(_folder["q"], "config.json"))), StringComparison.Ordinal);

        // Again, now from the quantised folder: nothing changes any more.
        CheckpointWriter.Write(_folder["again"], CheckpointWriter.Content(quantised, format, null), format);
        Assert.All(Directory.GetFiles(_folder["q"]), path => Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(Path.Combine(_folder["again"], Path.GetFileName(path)))));
    }

    [Fact]
    public void An_archive_of_numpy_is_read()
    {
        WriteNpz(RandomModel.Create(Test, 6));
        using Checkpoint checkpoint = Checkpoint.Open(_folder["npz"]);
        Assert.Equal(CheckpointFormat.Mlx, checkpoint.Format);
        Assert.All(RandomModel.Create(Test, 6, DType.F16).Weights, weight => Assert.Equal(weight.ToFloats(), checkpoint.Weights[weight.Name].ToFloats()));
    }

    [Theory]
    [InlineData("""{"model_name":"OpenELM-7B"}""", "model_name is \"OpenELM-7B\"; the known ones are OpenELM-270M")]
    [InlineData("""{"model_name":3}""", "model_name is 3")]
    [InlineData("""{"model_name":"gpt-test","vocab_size":"many"}""", "vocab_size must be a whole number")]
    [InlineData("""{"model_name":"gpt-test","vocab_size":41}""", "token_embeddings.weight is [40, 128]; config.json implies [41, 128]")]
    [InlineData("""{"model_name":"gpt-test","vocab_size":40,"quantization":{"mode":"mxfp4"}}""", "only \"affine\"")]
    [InlineData("[]", "must hold one JSON object")]
    [InlineData("{", "not valid JSON")]
    public void Wrong_configurations_are_named(string config, string problem)
    {
        MlxFolderWriter.Write(_folder["mlx"], RandomModel.Create(Test, 5));
        File.WriteAllText(Path.Combine(_folder["mlx"], "config.json"), config);
        Assert.Contains(problem, Assert.Throws<OpenElmException>(() => Checkpoint.Open(_folder["mlx"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parts_that_do_not_fit_each_other_are_named()
    {
        string Message(Func<Checkpoint> open) => Assert.Throws<OpenElmException>(open).Message;
        Assert.Contains("no quantised matrix [1, 64]", Message(() => WithQuantisedHead(new uint[7], 1, [1], [1], 64)), StringComparison.Ordinal);
        Assert.Contains("no quantised matrix [1, 64]", Message(() => WithQuantisedHead(new uint[8], 1, [1, 1, 1], [1, 1, 1], 64)), StringComparison.Ordinal);
        Assert.Contains("2 bits in groups of 64", Message(() => WithQuantisedHead(new uint[4], 1, [1], [1], 64)), StringComparison.Ordinal);
        Assert.Contains("no .biases", Message(() => WithQuantisedHead(new uint[8], 1, [1], null, 64)), StringComparison.Ordinal);
    }

    [Fact]
    public void Scales_that_the_type_cannot_hold_are_refused()
    {
        ModelContent content = RandomModel.Create(Test, 1, DType.F16);
        content = content with
        {
            Weights = [.. content.Weights.Select(weight => weight.Name == "layers.0.ffn.proj_2.weight"
                ? weight with { DType = DType.Affine8x32, Write = stream =>
                {
                    for (long block = 0; block < weight.Shape[0] * weight.Shape[1] / 32; block++)
                    {
                        stream.Write(BitConverter.GetBytes(0.1f));
                        stream.Write(new byte[36]);
                    }
                } }
                : weight)],
        };
        Assert.Contains("layers.0.ffn.proj_2.weight has scales that F16 cannot hold", Assert.Throws<OpenElmException>(() => MlxFolderWriter.Write(_folder["q"], content)).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["q"]));
    }

    [Fact]
    public void Apples_layout_needs_a_built_in_architecture() =>
        Assert.Contains("write an mlx-lm folder", Assert.Throws<OpenElmException>(() => MlxFolderWriter.Write(_folder["x"], RandomModel.Create(Test with { RopeFreqConstant = 1 }, 1))).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(MlxLayout.Apple)]
    [InlineData(MlxLayout.MlxLm)]
    public void A_model_without_a_gate_is_refused(MlxLayout layout) =>
        Assert.Contains("always has a gated", Assert.Throws<OpenElmException>(() => MlxFolderWriter.Write(_folder["x"], RandomModel.Create(Test with { FfnWithGlu = false }, 1), layout)).Message, StringComparison.Ordinal);

    // An mlx-lm folder of one layer, 64 wide, untied: only its head is quantised.
    Checkpoint WithQuantisedHead(uint[] words, int rows, float[] scales, float[]? biases, int group)
    {
        var config = new OpenElmConfig { VocabSize = rows, NumTransformerLayers = 1, ModelDim = 64, HeadDim = 64, FfnDimDivisor = 64, FfnMultipliers = 1.0 };
        string path = _folder[Guid.NewGuid().ToString("N")];
        Directory.CreateDirectory(path);
        string json = OpenElmConfigJson.Write(config);
        File.WriteAllText(Path.Combine(path, "config.json"), json.TrimEnd()[..^1] + $", \"quantization\": {{\"group_size\": {group}, \"bits\": 4}}}}");
        List<TensorSource> tensors = [.. RandomModel.Create(config, 1).Weights.Where(weight => weight.Name != "classifier.weight").Select(weight => weight with { Name = HuggingFaceNames.FromCoreNet(weight.Name) })];
        tensors.Add(new TensorSource("lm_head.weight", DType.U32, [rows, words.Length / rows], stream => stream.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes(words.AsSpan()))));
        tensors.Add(TensorSource.Of("lm_head.scales", [rows, scales.Length / rows], scales));
        if (biases is not null)
        {
            tensors.Add(TensorSource.Of("lm_head.biases", [rows, biases.Length / rows], biases));
        }

        SafetensorsWriter.Write(Path.Combine(path, "model.safetensors"), tensors);
        return Checkpoint.Open(path);
    }

    void WriteNpz(ModelContent content)
    {
        Directory.CreateDirectory(_folder["npz"]);
        File.WriteAllText(Path.Combine(_folder["npz"], "config.json"), """{"model_name": "gpt-test", "vocab_size": 40, "max_context_length": 2048}""");
        using ZipArchive archive = ZipFile.Open(Path.Combine(_folder["npz"], "weights.npz"), ZipArchiveMode.Create);
        foreach (TensorSource weight in content.Weights)
        {
            using Stream entry = archive.CreateEntry(weight.Name + ".npy", CompressionLevel.NoCompression).Open();
            string header = $"{{'descr': '<f2', 'fortran_order': False, 'shape': ({string.Join(", ", weight.Shape)}{(weight.Shape.Length == 1 ? "," : "")}), }}";
            header = header.PadRight((((10 + header.Length) / 64) + 1) * 64 - 11) + "\n";
            entry.Write([0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, (byte)(header.Length >> 8), .. Encoding.ASCII.GetBytes(header)]);
            entry.Write(FloatEncoding.Encode(weight.ToFloats(), DType.F16));
        }
    }

    static string Compact(string json) => string.Concat(json.Where(character => !char.IsWhiteSpace(character)));
}
