using System.Text.Json;
using OpenElm.Configuration;

namespace OpenElm.Cli.Tests;

public sealed class InfoCommandTests
{
    public static TheoryData<string> ReleasedShapes =>
        [.. Golden().EnumerateObject().Where(e => e.Name.StartsWith("OpenELM-", StringComparison.Ordinal)).Select(e => e.Name)];

    [Theory, MemberData(nameof(ReleasedShapes))]
    public void Json_agrees_with_the_reference_implementation(string entry)
    {
        JsonElement golden = Golden().GetProperty(entry);
        string[] parts = entry.Split('/'); // OpenELM-1_1B/vocab-32000
        JsonElement document = Info(parts[0].Replace('_', '.').ToLowerInvariant(), "--vocab-size", parts[1]["vocab-".Length..]);

        Assert.Equal(golden.GetProperty("parameters").GetInt64(), Number(document, "parameters", "total"));
        Assert.Equal(
            golden.GetProperty("query_heads_kv_heads_ffn_dim_per_layer").EnumerateArray().Select(row => (row[0].GetInt32(), row[1].GetInt32(), row[2].GetInt32())),
            document.GetProperty("layers").EnumerateArray().Select(layer =>
                (layer.GetProperty("query_heads").GetInt32(), layer.GetProperty("kv_heads").GetInt32(), layer.GetProperty("ffn_dim").GetInt32())));
    }

    // openelm.md 1.4; the last two columns are the first and the last layer of 1.3.
    [Theory]
    [InlineData("openelm-270m", 230_567_168, 40_960_000, 51_609_600, 178_913_280, 44_288, 16_128, 5_409_408, 23_759_488)]
    [InlineData("openelm-450m", 408_027_136, 49_152_000, 89_456_640, 318_504_960, 65_536, 23_296, 6_491_264, 34_212_992)]
    [InlineData("openelm-1.1b", 1_014_355_456, 65_536_000, 221_511_680, 792_723_456, 120_320, 43_264, 11_538_560, 60_821_632)]
    [InlineData("openelm-3b", 2_938_343_424, 98_304_000, 644_874_240, 2_293_235_712, 233_472, 83_968, 25_958_656, 136_845_568)]
    public void Groups_of_parameters_and_the_cache_agree_with_the_reference(
        string name, long nonEmbedding, long embedding, long attention, long feedForward, long norm, long cacheBf16, long firstLayer, long lastLayer)
    {
        JsonElement document = Info(name);
        Assert.Equal(
            (nonEmbedding, embedding, 0, attention, feedForward, norm),
            (Number(document, "parameters", "non_embedding"), Number(document, "parameters", "embedding"), Number(document, "parameters", "head"),
                Number(document, "parameters", "attention"), Number(document, "parameters", "feed_forward"), Number(document, "parameters", "norm")));
        Assert.Equal((cacheBf16, 2 * cacheBf16), (Number(document, "kv_cache_bytes_per_token", "bf16"), Number(document, "kv_cache_bytes_per_token", "fp32")));
        Assert.Equal(
            (firstLayer, lastLayer),
            (document.GetProperty("layers")[0].GetProperty("parameters").GetInt64(), document.GetProperty("layers").EnumerateArray().Last().GetProperty("parameters").GetInt64()));
    }

    [Fact]
    public void Memory_follows_from_the_counts()
    {
        JsonElement document = Info("openelm-270m", "--batch-size", "2", "--sequence-length", "100");
        const long total = 271_527_168;
        Assert.Equal((4 * total, 4 * total, 8 * total),
            (Number(document, "training_memory", "weights"), Number(document, "training_memory", "gradients"), Number(document, "training_memory", "optimizer_state")));
        JsonElement bf16 = document.GetProperty("inference_memory").GetProperty("bf16");
        Assert.Equal((2 * total, 100 * 16_128L), (bf16.GetProperty("weights").GetInt64(), bf16.GetProperty("kv_cache").GetInt64()));
        // Each token keeps as much as the others, beside the logits, which are worked through in pieces.
        long small = Number(document, "training_memory", "activations"), large = ActivationsOf(4), larger = ActivationsOf(6);
        Assert.Equal(large - small, larger - large);
        Assert.InRange((double)large / small, 1.9, 2.0);

        static long ActivationsOf(int batch) =>
            Number(Info("openelm-270m", "--batch-size", $"{batch}", "--sequence-length", "100"), "training_memory", "activations");
    }

    [Fact]
    public void Describing_the_largest_model_allocates_no_weights()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        Info("openelm-3b");
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 50_000_000);
    }

    [Fact]
    public void Text_has_the_same_numbers()
    {
        (int code, string output, string error) = Openelm.Run("info", "OpenELM-270M");
        Assert.Equal((0, ""), (code, error));
        Assert.Contains("271,527,168 parameters, 16 layers", output);
        Assert.Matches("(?m)^ +12 +20 +5 +4,352 +20,810,368\r?$", output);
        Assert.Matches("(?m)^bf16 +16,128 ", output);
    }

    [Fact]
    public void A_folder_also_tells_its_files_and_types()
    {
        using var folder = new TemporaryFolder();
        OpenElmConfig config = new() { VocabSize = 10, ModelDim = 8, HeadDim = 4, NumTransformerLayers = 1, FfnDimDivisor = 4 };
        File.WriteAllText(folder["config.json"], OpenElmConfigJson.Write(config));
        string header = "{" + string.Join(",", Offsets(config)) + "}";
        using (FileStream file = File.Create(folder["model.safetensors"]))
        {
            file.Write(BitConverter.GetBytes((long)header.Length));
            file.Write(System.Text.Encoding.ASCII.GetBytes(header));
            file.Write(new byte[4 * ParameterCount.Of(config).Total]);
        }

        JsonElement document = Info(folder.Path);
        JsonElement type = Assert.Single(document.GetProperty("checkpoint").GetProperty("weight_types").EnumerateArray());
        Assert.Equal("f32", type.GetProperty("type").GetString());
        Assert.Equal(4 * ParameterCount.Of(config).Total, type.GetProperty("bytes").GetInt64());
        Assert.Equal(["config.json", "model.safetensors"], document.GetProperty("checkpoint").GetProperty("files").EnumerateArray().Select(f => f.GetProperty("name").GetString()));
        Assert.Equal(JsonValueKind.Null, document.GetProperty("checkpoint").GetProperty("tokenizer").ValueKind);
        Assert.Contains("There is no tokenizer.", Openelm.Run("info", folder.Path).Output);
    }

    [Fact]
    public void A_libtorch_that_is_not_there_is_named_and_the_rest_is_still_shown()
    {
        using var folder = new TemporaryFolder();
        (int code, string output, _) = Openelm.Run("info", "--torch", folder.Path);
        Assert.Equal(0, code);
        Assert.Contains("processor", output);
        Assert.Contains("Training is not possible here: ", output);
        Assert.Contains(folder.Path, output);
    }

    [Theory]
    [InlineData("is neither a model (folder or file), nor a config.json, nor a shipped model (", "no-such-model")]
    [InlineData("vocab_size is 0", "openelm-3b", "--vocab-size", "0")]
    [InlineData("--batch-size and --sequence-length must be 1 or more", "openelm-3b", "--batch-size", "0")]
    [InlineData("Cannot parse argument 'many'", "openelm-3b", "--batch-size", "many")]
    public void What_cannot_be_described_is_the_users_to_fix(string expected, params string[] args)
    {
        (int code, string output, string error) = Openelm.Run(["info", .. args]);
        Assert.Equal((2, ""), (code, output));
        Assert.Contains(expected, error);
    }

    [Theory]
    [InlineData("info")]
    [InlineData("info", "--environment")]
    public void Without_a_model_it_describes_the_machine(params string[] args)
    {
        (int code, string output, _) = Openelm.Run([.. args, "--json"]);
        Assert.Equal(0, code);
        JsonElement machine = JsonDocument.Parse(output).RootElement.GetProperty("machine");
        Assert.Equal(Environment.ProcessorCount, machine.GetProperty("cores").GetInt32());
        Assert.StartsWith(".NET 10", machine.GetProperty("runtime").GetString());
        JsonElement torch = JsonDocument.Parse(output).RootElement.GetProperty("torch");
        Assert.Equal("2.10", torch.GetProperty("version").GetString());
        Assert.True(Directory.Exists(torch.GetProperty("folder").GetString()));
        Assert.Contains("libtorch on the CPU", Openelm.Run(args).Output);
    }

    static IEnumerable<string> Offsets(OpenElmConfig config)
    {
        long begin = 0;
        foreach (TensorShape tensor in TensorShapes.Of(config))
        {
            long end = begin + (4 * tensor.Elements);
            yield return $$"""
                "{{tensor.Name}}":{"dtype":"F32","shape":[{{string.Join(",", tensor.Shape)}}],"data_offsets":[{{begin}},{{end}}]}
                """;
            begin = end;
        }
    }

    static JsonElement Info(params string[] args)
    {
        (int code, string output, string error) = Openelm.Run(["info", .. args, "--json"]);
        Assert.True(code == 0, error);
        return JsonDocument.Parse(output).RootElement;
    }

    static long Number(JsonElement document, string group, string key) => document.GetProperty(group).GetProperty(key).GetInt64();

    static JsonElement Golden() => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(RepositoryFiles.Golden, "golden.json"))).RootElement;
}
