using System.Collections.Immutable;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Adapters;

public sealed class AdapterFolderTests : IDisposable
{
    static readonly OpenElmConfig Model = RandomAdapters.Model;

    static readonly AdapterConfig Mixed = new()
    {
        Rules =
        [
            new AdapterRule { Modules = "token", Rank = 3, Alpha = 5 },
            new AdapterRule { Modules = ".*qkv_proj", Rank = 4, Alpha = 8, Dora = true },
            new AdapterRule { Modules = "layers.0.*out_proj", Rank = 4, Alpha = 8 },
            new AdapterRule { Modules = @"layers\.1\.ffn", Rank = 4, Alpha = 6, RsLora = true, Dora = true },
        ],
    };

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void An_adapter_reads_back_as_written()
    {
        ImmutableArray<AdaptedModule> modules = Mixed.Resolve(Model);
        AdapterContent content = RandomAdapters.Content(modules);
        AdapterFolder.Write(_folder["adapter"], content with { BaseModel = "apple/OpenELM-270M" });
        using var adapter = Adapter.Open(_folder["adapter"], Model);

        Assert.Equal(modules.Select(Facts), adapter.Modules.Select(weights => Facts(weights.Module)));
        Assert.Equal(
            content.Tensors.Select(tensor => tensor.ToFloats()),
            from weights in adapter.Modules from part in weights.Module.Parts select weights[part].ToFloats());
        Assert.Equal(modules.Sum(module => module.Parameters), adapter.Parameters);
        Assert.Empty(adapter.Notes);
        Assert.Equal(["adapter_config.json", "adapter_model.safetensors"], Directory.GetFiles(_folder["adapter"]).Select(Path.GetFileName).Order());

        static string Facts(AdaptedModule module) => $"{module.Name} {module.Rank} {module.Scaling:R} {module.Dora}";
    }

    // Names and keys as PEFT's documentation of its checkpoint format has them.
    [Fact]
    public void Files_have_pefts_names_and_keys()
    {
        RandomAdapters.Write(_folder["adapter"], Mixed);
        using (SafetensorsFile file = SafetensorsFile.Open(_folder["adapter/adapter_model.safetensors"]))
        {
            Assert.Contains("base_model.model.transformer.layers.0.attn.qkv_proj.lora_A.weight", file.Tensors.Keys);
            Assert.Contains("base_model.model.transformer.layers.0.attn.qkv_proj.lora_B.weight", file.Tensors.Keys);
            Assert.Contains("base_model.model.transformer.layers.0.attn.qkv_proj.lora_magnitude_vector", file.Tensors.Keys);
            Assert.Contains("base_model.model.transformer.token_embeddings.lora_embedding_A", file.Tensors.Keys);
            Assert.Equal([3, 21], file["base_model.model.transformer.token_embeddings.lora_embedding_A"].Shape);
            Assert.Equal([16, 3], file["base_model.model.transformer.token_embeddings.lora_embedding_B"].Shape);
        }

        JsonNode config = JsonNode.Parse(File.ReadAllText(_folder["adapter/adapter_config.json"]))!;
        Assert.Equal(("LORA", "CAUSAL_LM", 4, 8, true, false), ((string)config["peft_type"]!, (string)config["task_type"]!, (int)config["r"]!, (int)config["lora_alpha"]!, (bool)config["use_dora"]!, (bool)config["use_rslora"]!));
        Assert.Equal(3, (int)config["rank_pattern"]!["transformer.token_embeddings"]!);
        Assert.Equal(12, (double)config["alpha_pattern"]!["transformer.layers.1.ffn.proj_2"]!); // rsLoRA: 6/√4 = 12/4
        Assert.Contains("transformer.layers.1.ffn.proj_1", config["target_modules"]!.AsArray().Select(target => (string)target!));
        Assert.Single(AdapterFolder.PeftDifferences(Mixed.Resolve(Model)));
    }

    // As PEFT writes it: suffixes as targets, a pattern by expression, the names of modules only.
    [Fact]
    public void A_folder_in_pefts_words_is_understood()
    {
        ImmutableArray<AdaptedModule> modules = new AdapterConfig { Rules = [new AdapterRule { Modules = ".*qkv_proj|.*out_proj", Rank = 2 }] }.Resolve(Model);
        SafetensorsWriter.Write(_folder["adapter_model.safetensors"], RandomAdapters.Content(modules, naming: tensor => tensor.ToPeft()).Tensors);
        File.WriteAllText(_folder["adapter_config.json"], """
            {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "lora_dropout": 0.05, "use_rslora": true, "use_dora": false, "bias": "none", "fan_in_fan_out": false, "modules_to_save": null,
             "target_modules": ["qkv_proj", "out_proj"], "rank_pattern": {}, "alpha_pattern": {"layers.0.attn.out_proj": 4, "^transformer.layers.1.*qkv_proj": 10}, "megatron_core": "megatron.core"}
            """);
        using var adapter = Adapter.Open(_folder.Path, Model);
        Assert.Equal([16, 4, 10, 16], adapter.Modules.Select(weights => weights.Module.Alpha));
        Assert.All(adapter.Modules, weights => Assert.Equal(weights.Module.Alpha / Math.Sqrt(2), weights.Module.Scaling));
        Assert.All(adapter.Modules, weights => Assert.Equal(0.05, weights.Module.Dropout));
    }

    [Theory]
    [InlineData("safetensors")]
    [InlineData("pt")]
    public void CoreNets_names_are_read(string ending)
    {
        ImmutableArray<AdaptedModule> modules = RandomAdapters.Paper(dora: true, rank: 2).Resolve(Model);
        AdapterContent content = RandomAdapters.Content(modules);
        Assert.Contains("token_embeddings.lora_embedding_A.lora", content.Tensors.Select(tensor => tensor.Name)); // as openelm.md 10.1 has them
        Assert.Contains("layers.0.ffn.proj_1.lora_B.lora.weight", content.Tensors.Select(tensor => tensor.Name));
        Assert.Contains("layers.0.ffn.proj_1.lora_magnitude_vector.lora", content.Tensors.Select(tensor => tensor.Name));
        TensorSource[] all =
        [
            .. content.Tensors,
            .. RandomModel.Create(Model, 3).Weights.Select(weight => modules.Any(module => module.WeightName == weight.Name) ? weight with { Name = weight.Name[..^"weight".Length] + "base_layer.weight" } : weight),
        ];
        string path = _folder["finetuned." + ending];
        if (ending == "pt")
        {
            TorchFile.Write(path, all);
        }
        else
        {
            SafetensorsWriter.Write(path, all);
        }

        using var adapter = Adapter.Open(path, Model);
        Assert.Equal(content.Tensors.Select(tensor => tensor.ToFloats()), from weights in adapter.Modules from part in weights.Module.Parts select weights[part].ToFloats());
        Assert.All(adapter.Modules, weights => Assert.Equal((2, 1.0), (weights.Module.Rank, weights.Module.Scaling)));
        Assert.Contains("α = rank is assumed", Assert.Single(adapter.Notes), StringComparison.Ordinal);
        if (ending == "pt")
        {
            using Checkpoint model = Checkpoint.Open(path, Model); // the same file is the base model, too
            Assert.Contains(model.Notes, note => note.Contains("without the adapter", StringComparison.Ordinal));
            Assert.Equal(RandomModel.Create(Model, 3).Weights.Select(weight => weight.ToFloats()), TensorShapes.Of(Model).Select(shape => model.Weights[shape.Name].ToFloats()));
        }
    }

    [Fact]
    public void An_adapter_for_another_shape_names_modules_and_shapes()
    {
        RandomAdapters.Write(_folder["adapter"], RandomAdapters.Paper(dora: true, rank: 2));
        string message = Refusal(Model with { VocabSize = 20, NumTransformerLayers = 1, FfnMultipliers = 2.0 });
        Assert.Contains("token_embeddings: lora_A is [2, 21]; the model wants [2, 20]", message, StringComparison.Ordinal);
        Assert.Contains("layers.0.ffn.proj_2: lora_A is [2, 18]; the model wants [2, 30]", message, StringComparison.Ordinal);
        Assert.Contains("layers.0.ffn.proj_1: lora_magnitude_vector is [36]; the model wants [60]", message, StringComparison.Ordinal);
        Assert.Contains("layers.1.attn.qkv_proj is no module of this model", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("r", "3", "layers.0.attn.out_proj has rank 2; adapter_config.json says 3")]
    [InlineData("r", "-1", "r is -1")]
    [InlineData("use_dora", "true", "layers.0.attn.out_proj has no magnitude; adapter_config.json says that it has one")]
    [InlineData("use_dora", "1", "use_dora is 1")]
    [InlineData("bias", "\"all\"", "bias is \"all\", which is not supported")]
    [InlineData("modules_to_save", "[\"lm_head\"]", "modules_to_save is [\"lm_head\"]")]
    [InlineData("init_lora_weights", "\"pissa\"", "changes the base weights")]
    [InlineData("peft_type", "\"IA3\"", "the type IA3")]
    [InlineData("lora_alpha", "\"x\"", "lora_alpha is \"x\"")]
    [InlineData("alpha_pattern", "{\"(\": 1}", "alpha_pattern must map expressions to numbers")]
    [InlineData("target_modules", "[\"qkv_proj\", \"proj_1\"]", "layers.0.attn.qkv_proj is a target of the adapter and has no tensors")]
    [InlineData("target_modules", "\"all-linear\"", "layers.1.ffn.proj_2 is a target of the adapter and has no tensors")]
    public void Settings_that_do_not_fit_are_named(string key, string value, string problem)
    {
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*out_proj", Rank = 2 }] });
        JsonNode config = JsonNode.Parse(File.ReadAllText(_folder["adapter/adapter_config.json"]))!;
        config[key] = JsonNode.Parse(value);
        File.WriteAllText(_folder["adapter/adapter_config.json"], config.ToJsonString());
        Assert.Contains(problem, Refusal(Model), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lora_B", "layers.0.attn.out_proj has no lora_B")]
    [InlineData("everything", "holds no tensors of an adapter")]
    public void Missing_tensors_are_named(string missing, string problem)
    {
        var rule = new AdapterRule { Modules = ".*out_proj", Rank = 2 };
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [rule] });
        JsonNode config = JsonNode.Parse(File.ReadAllText(_folder["adapter/adapter_config.json"]))!;
        config["target_modules"] = new JsonArray();
        File.WriteAllText(_folder["adapter/adapter_config.json"], config.ToJsonString());
        AdapterContent content = RandomAdapters.Content(new AdapterConfig { Rules = [rule] }.Resolve(Model), naming: tensor => tensor.ToPeft());
        SafetensorsWriter.Write(_folder["adapter/adapter_model.safetensors"], [.. content.Tensors.Where(tensor => missing != "everything" && !tensor.Name.Contains(missing, StringComparison.Ordinal))]);
        Assert.Contains(problem, Refusal(Model), StringComparison.Ordinal);
    }

    [Fact]
    public void Folders_without_an_adapter_are_named()
    {
        Assert.Contains("holds no adapter", Assert.Throws<OpenElmException>(() => Adapter.Open(_folder.Path, Model)).Message, StringComparison.Ordinal);
        Assert.Contains("There is no file", Assert.Throws<OpenElmException>(() => Adapter.Open(_folder["missing"], Model)).Message, StringComparison.Ordinal);
    }

    string Refusal(OpenElmConfig model) => Assert.Throws<OpenElmException>(() => Adapter.Open(_folder["adapter"], model.Validated())).Message;

    /// <summary>Writes state dicts as <c>torch.save</c> does, in the instructions of Python's pickletools.</summary>
    static class TorchFile
    {
        public static void Write(string path, TensorSource[] tensors)
        {
            using ZipArchive archive = ZipFile.Open(path, ZipArchiveMode.Create);
            var pickle = new StringBuilder("\u0080\u0002}(");
            for (int key = 0; key < tensors.Length; key++)
            {
                ImmutableArray<long> shape = tensors[key].Shape;
                IEnumerable<long> strides = shape.Select((_, i) => shape.Skip(i + 1).Aggregate(1L, (a, b) => a * b));
                float[] values = tensors[key].ToFloats();
                pickle.Append(Text(tensors[key].Name)).Append("ctorch._utils\n_rebuild_tensor_v2\n((").Append(Text("storage")).Append("ctorch\nFloatStorage\n").Append(Text($"{key}")).Append(Text("cpu"))
                    .Append(Int(values.Length)).Append("tQ").Append(Int(0)).Append(Tuple(shape)).Append(Tuple(strides)).Append("\u0089ccollections\nOrderedDict\n)RtR");
                using Stream data = archive.CreateEntry($"x/data/{key}", CompressionLevel.NoCompression).Open();
                data.Write(MemoryMarshal.AsBytes(values.AsSpan()));
            }

            using Stream root = archive.CreateEntry("x/data.pkl", CompressionLevel.NoCompression).Open();
            root.Write(Encoding.Latin1.GetBytes(pickle.Append("u.").ToString()));
        }

        static string Int(long value) => "J" + Encoding.Latin1.GetString(BitConverter.GetBytes((int)value));

        static string Text(string text) => "X" + Encoding.Latin1.GetString(BitConverter.GetBytes(text.Length)) + text;

        static string Tuple(IEnumerable<long> items) => "(" + string.Concat(items.Select(Int)) + "t";
    }
}
