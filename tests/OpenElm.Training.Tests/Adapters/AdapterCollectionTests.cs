using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Training.Adapters;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Adapters;

public sealed class AdapterCollectionTests : IDisposable
{
    static readonly OpenElmConfig Model = SmallModels.Layerwise;
    static readonly AdapterConfig Lora = RandomAdapters.Paper(rank: 3), Dora = RandomAdapters.Paper(dora: true, rank: 3) with { Name = "dora" };

    static readonly AdapterConfig Middle = new()
    {
        Name = "middle",
        Rules = [new AdapterRule { Modules = @"layers\.1\.ffn", Rank = 2, Alpha = 3, RsLora = true, Dora = true }, new AdapterRule { Modules = "layers.[01].attn", Rank = 1, Alpha = 2 }],
    };

    readonly TemporaryFolder _folder = new();
    readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_new_adapter_changes_nothing_and_is_all_that_is_trained(bool dora)
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        Tensor before = Logits(module);
        AttachedAdapter adapter = module.Adapters.Attach(dora ? Dora : Lora, seed: 7);
        TensorAssert.CloseNorm(before, Logits(module), dora ? 1e-6 : 0);

        Assert.Equal(adapter.Modules.Sum(m => m.Parameters), module.Trainable.Sum(weight => weight.Value.numel()));
        Assert.Equal(adapter.Weights, module.Trainable);
        Loss(module).backward();
        Assert.All(module.Weights, weight => Assert.Null(weight.Value.grad)); // the backward pass computes none
        Assert.All(module.Trainable, weight => Assert.NotNull(weight.Value.grad));
        Assert.All(module.Trainable, weight => Assert.Equal(!IsFactorOfZero(weight.Name), weight.Value.grad!.abs().max().item<float>() > 0));

        module.Adapters.Delete(adapter.Name);
        TensorAssert.Same(before, Logits(module));
        Assert.Equal(module.Weights, module.Trainable);
        Loss(module).backward();
        Assert.All(module.Weights, weight => Assert.NotNull(weight.Value.grad));

        static bool IsFactorOfZero(string name) => name.Contains("lora_A", StringComparison.Ordinal) || name.Contains("embedding_B", StringComparison.Ordinal);
    }

    // openelm.md 8.2, "Init".
    [Fact]
    public void Tensors_start_as_the_reference_says()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        AttachedAdapter adapter = module.Adapters.Attach(RandomAdapters.Paper(dora: true, rank: 200), seed: 7);
        var tensors = adapter.Weights.ToDictionary(weight => weight.Name, weight => weight.Value);
        Tensor a = tensors["layers.2.ffn.proj_2.lora_A.lora.weight"]; // [200, inputs]
        double bound = 1 / Math.Sqrt(a.size(1));
        Assert.InRange(a.abs().max().item<float>(), 0.99 * bound, bound);
        Assert.InRange(a.std().item<float>() / (bound / Math.Sqrt(3)), 0.97, 1.03); // uniform
        Assert.Equal(0, tensors["layers.2.ffn.proj_2.lora_B.lora.weight"].abs().max().item<float>());
        Assert.Equal(0, tensors["token_embeddings.lora_embedding_A.lora"].abs().max().item<float>());
        Assert.InRange(tensors["token_embeddings.lora_embedding_B.lora"].std().item<float>(), 0.97, 1.03);
        Tensor w = module.Weights.Single(weight => weight.Name == "layers.2.ffn.proj_2.weight").Value;
        TensorAssert.Close(w.norm(1), tensors["layers.2.ffn.proj_2.lora_magnitude_vector.lora"], 1e-6, 0);

        using OpenElmModule gaussian = SmallModels.Create(Model, new ModuleOptions());
        adapter = gaussian.Adapters.Attach(new AdapterConfig { Rules = [new AdapterRule { Modules = ".*proj_2", Rank = 200, Initialization = AdapterInitialization.Gaussian }] }, seed: 7);
        Assert.InRange(adapter.Weights.Single(weight => weight.Name == "layers.2.ffn.proj_2.lora_A.lora.weight").Value.std().item<float>() * 200, 0.97, 1.03);
    }

    [Fact]
    public void The_same_seed_gives_the_same_adapter()
    {
        using OpenElmModule one = SmallModels.Create(Model, new ModuleOptions()), two = SmallModels.Create(Model, new ModuleOptions());
        ImmutableArray<NamedWeight> first = one.Adapters.Attach(Dora, 5).Weights, second = two.Adapters.Attach(Dora, 5).Weights;
        Assert.All(first.Zip(second), pair => TensorAssert.Same(pair.First.Value, pair.Second.Value));
        two.Adapters.Delete("dora");
        Assert.False(first[1].Value.eq(two.Adapters.Attach(Dora, 6).Weights[1].Value).any().item<bool>());
    }

    // The trap of openelm.md 8.2: magnitudes of random weights.
    [Fact]
    public void Weights_must_be_loaded_before_an_adapter_is_attached()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        module.Adapters.Attach(Dora, 1);
        Assert.Throws<InvalidOperationException>(() => module.Initialize(2));
        Assert.Throws<InvalidOperationException>(() => module.Load(ImmutableDictionary<string, TensorView>.Empty));
    }

    public static TheoryData<string, Precision> Kinds => [.. from kind in new[] { "lora", "dora", "all" } from precision in Enum.GetValues<Precision>() select (kind, precision)];

    [Theory, MemberData(nameof(Kinds))]
    public void Merged_adapters_compute_what_unmerged_ones_do(string kind, Precision precision)
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions { Precision = precision });
        AttachRandom(module, kind);
        Tensor head = module.HeadWeight.detach().clone(), before = Logits(module);
        Tensor[] weights = [.. module.Weights.Select(weight => weight.Value.detach().clone())];
        module.Adapters.Merge();
        TensorAssert.CloseNorm(before, Logits(module), precision == Precision.Fp32 ? 1e-5 : 3e-2);
        Assert.Throws<InvalidOperationException>(() => module.Adapters.First().Scale = 2);
        TensorAssert.Same(head, module.HeadWeight); // the tied head stays the base
        module.Adapters.Unmerge();
        TensorAssert.Same(before, Logits(module));
        Assert.All(weights.Zip(module.Weights), pair => TensorAssert.Same(pair.First, pair.Second.Value));
    }

    // The merge of files, in double precision and without libtorch, is the same model.
    [Theory]
    [InlineData("lora", 1)]
    [InlineData("dora", 1)]
    [InlineData("all", 1)]
    [InlineData("all", 0.4)]
    public void The_merged_folder_is_the_model_with_its_adapters(string kind, double scale)
    {
        foreach (OpenElmConfig config in new[] { Model, SmallModels.MultiQueryUntied, SmallModels.MultiHeadNoGlu })
        {
            using OpenElmModule module = SmallModels.Create(config, new ModuleOptions());
            AttachRandom(module, kind);
            string folder = Directory.CreateDirectory(_folder[Guid.NewGuid().ToString("N")]).FullName;
            ModelFolderWriter.Write(Path.Combine(folder, "base"), new ModelContent(config, module.ToSources()));
            foreach (AttachedAdapter adapter in module.Adapters)
            {
                adapter.Scale = scale;
                AdapterFolder.Write(Path.Combine(folder, adapter.Name), adapter.ToContent());
            }

            using var model = OpenElm.Checkpoints.Checkpoint.Open(Path.Combine(folder, "base"));
            ScaledAdapter[] stored = [.. module.Adapters.Select(adapter => new ScaledAdapter(Adapter.Open(Path.Combine(folder, adapter.Name), config), scale))];
            AdapterMerge.Write(Path.Combine(folder, "merged"), AdapterMerge.Content(model, stored), []);
            Array.ForEach(stored, adapter => adapter.Adapter.Dispose());

            using var merged = ModelFolder.Open(Path.Combine(folder, "merged"));
            using var plain = new OpenElmModule(merged.Config);
            plain.Load(merged.Weights);
            TensorAssert.CloseNorm(Logits(module), Logits(plain), 1e-5);
        }
    }

    [Fact]
    public void Adapters_are_switched_and_scaled_one_by_one()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        Tensor plain = Logits(module);
        AttachRandom(module, "all");
        (AttachedAdapter lora, AttachedAdapter dora, AttachedAdapter middle) = (module.Adapters["lora"], module.Adapters["dora"], module.Adapters["middle"]);
        Tensor all = Logits(module);
        dora.IsEnabled = middle.IsEnabled = false;
        Tensor alone = Logits(module);
        lora.Scale = 0;
        TensorAssert.CloseNorm(plain, Logits(module), 1e-6);
        lora.Scale = 1;
        TensorAssert.Same(alone, Logits(module));
        lora.IsEnabled = false;
        TensorAssert.Same(plain, Logits(module));
        lora.IsEnabled = dora.IsEnabled = middle.IsEnabled = true;
        TensorAssert.Same(all, Logits(module));
        Assert.True((all - alone).norm().item<float>() > 1e-2 && (alone - plain).norm().item<float>() > 1e-2);
        module.Adapters.Delete("dora");
        module.Adapters.Delete("middle");
        TensorAssert.Same(alone, Logits(module));
        Assert.Contains("has no adapter dora; it has lora", Assert.Throws<OpenElmException>(() => module.Adapters["dora"]).Message, StringComparison.Ordinal);
        Assert.Contains("there is one of this name", Assert.Throws<OpenElmException>(() => module.Adapters.Attach(Lora, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_merge_that_is_not_finite_is_refused_and_undone()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        AttachRandom(module, "lora");
        module.Adapters["lora"].Scale = 1e38;
        Tensor w = module.Adapters["lora"].Weights.Last(weight => weight.Name.Contains("lora_B", StringComparison.Ordinal)).Value;
        using (no_grad())
        {
            w.mul_(1e10);
        }

        Assert.Contains("merged is not finite", Assert.Throws<OpenElmException>(module.Adapters.Merge).Message, StringComparison.Ordinal);
        Assert.False(module.Adapters.IsMerged);
    }

    // d loss / d A and B follow from the gradient of the merged weight, which an ordinary model gives; the norm of DoRA is a constant.
    [Theory]
    [InlineData("lora")]
    [InlineData("dora")]
    public void Gradients_are_those_of_the_merged_weights(string kind)
    {
        OpenElmConfig untied = (Model with { ShareInputOutputLayers = false }).Validated();
        using OpenElmModule module = SmallModels.Create(untied, new ModuleOptions());
        AttachedAdapter adapter = AttachRandom(module, kind).Single();
        Loss(module).backward();

        var original = module.Weights.ToDictionary(weight => weight.Name, weight => weight.Value.detach().clone());
        using var plain = new OpenElmModule(untied);
        using (no_grad())
        {
            foreach (NamedWeight weight in plain.Weights)
            {
                weight.Value.copy_(original[weight.Name]);
            }

            foreach (LowRankLayer layer in adapter.Layers)
            {
                plain.Weights.Single(weight => weight.Name == layer.Module.WeightName).Value.add_(layer.WeightChange());
            }
        }

        Loss(plain).backward();
        foreach (LowRankLayer layer in adapter.Layers)
        {
            Tensor dW = plain.Weights.Single(weight => weight.Name == layer.Module.WeightName).Value.grad!, w = original[layer.Module.WeightName];
            dW = layer.Module.IsEmbedding ? dW.t() : dW;                               // [outputs, inputs]
            if (layer.Magnitude is { } magnitude)
            {
                Tensor sum = w + (matmul(layer.B, layer.A) * layer.Module.Scaling), norm = sum.norm(1);
                TensorAssert.CloseNorm((dW * sum / norm.unsqueeze(1)).sum(1), magnitude.grad!, 2e-5, layer.NameOf(AdapterPart.Magnitude));
                dW *= (magnitude / norm).unsqueeze(1);
            }

            TensorAssert.CloseNorm(matmul(layer.B.t(), dW) * layer.Module.Scaling, layer.A.grad!, 2e-5, layer.NameOf(AdapterPart.A));
            TensorAssert.CloseNorm(matmul(dW, layer.A.t()) * layer.Module.Scaling, layer.B.grad!, 2e-5, layer.NameOf(AdapterPart.B));
        }
    }

    [Theory]
    [InlineData("lora", KernelChoice.Fused)]
    [InlineData("dora", KernelChoice.Torch)]
    [InlineData("middle", KernelChoice.Fused)] // the first layers want no gradient of their input
    public void Activation_checkpointing_gives_the_same_gradients_with_dropout(string kind, KernelChoice kernels)
    {
        Tensor[][] gradients = [.. new[] { false, true }.Select(checkpointing =>
        {
            OpenElmModule module = SmallModels.Create(Model, new ModuleOptions { ActivationCheckpointing = checkpointing, Kernels = kernels });
            AttachRandom(module, kind);
            module.Adapters.Dropout = new DropoutKey(1, 2, 3);
            Loss(module).backward();
            return module.Trainable.Select(weight => weight.Value.grad!).ToArray();
        })];
        Assert.All(gradients[0].Zip(gradients[1]), pair => TensorAssert.Same(pair.First, pair.Second));
    }

    [Fact]
    public void Dropout_is_a_function_of_its_key_and_spares_the_embedding()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        AttachRandom(module, "dora");
        Tensor without = Logits(module);
        Tensor With(DropoutKey? key)
        {
            module.Adapters.Dropout = key;
            return Logits(module);
        }

        var start = new DropoutKey(1, 2, 3);
        Tensor first = With(start);
        TensorAssert.Same(first, With(start));
        TensorAssert.Same(without, With(null));
        Assert.All(new DropoutKey?[] { null, start with { Seed = 2 }, start with { Update = 3 }, start with { MicroBatch = 2 } }, key => Assert.True((With(key) - first).norm().item<float>() > 1e-3));

        using OpenElmModule embedding = SmallModels.Create(Model, new ModuleOptions());
        embedding.Adapters.Attach(new AdapterConfig { Rules = [new AdapterRule { Modules = "token", Dropout = 0.5 }] }, 1);
        Tensor plain = Logits(embedding);
        embedding.Adapters.Dropout = start;
        TensorAssert.Same(plain, Logits(embedding));
    }

    [Theory]
    [InlineData(7, 33, 5UL, ScalarType.Float32)]
    [InlineData(3, 70_001, 0xFFFF_FFFF_FFFF_FFF0, ScalarType.Float32)] // seed and number overflow; chunks of rows
    [InlineData(100, 70_001, 0x1234_5678_FFFF_FFF0, ScalarType.Float32)]
    [InlineData(5, 19, 0x9E37_79B9_7F4A_7C15, ScalarType.BFloat16)]
    public void Dropout_has_the_same_mask_on_every_device(int rows, int width, ulong seed, ScalarType type)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(1);
        Tensor x = randn(rows, width).to(type);
        TensorAssert.Same(SeededDropout.apply(x, 0.3, seed), SeededDropout.MaskedByOperators(x, 0.3, seed));
    }

    [Fact]
    public void Dropout_zeroes_its_share_and_keeps_the_mean()
    {
        Tensor x = ones(200, 300, requires_grad: true), y = SeededDropout.apply(x, 0.3, 5UL), other = SeededDropout.apply(x, 0.3, 6UL);
        Assert.InRange(y.eq(0).to_type(ScalarType.Float32).mean().item<float>(), 0.29, 0.31); // 60,000 elements: a standard deviation is 0.002
        TensorAssert.Close(y, y.ne(0).to_type(ScalarType.Float32) / 0.7, 1e-6, 0);
        Assert.InRange((y.eq(0) & other.eq(0)).to_type(ScalarType.Float32).mean().item<float>(), 0.08, 0.10); // two seeds are independent
        y.backward([ones(300, 200).t()]); // other strides than the input
        TensorAssert.Same(y, x.grad!);
    }

    // As a run does: update, save, load into a fresh model, update again.
    [Fact]
    public void A_saved_adapter_goes_on_bit_for_bit()
    {
        using OpenElmModule straight = SmallModels.Create(Model, new ModuleOptions()), resumed = SmallModels.Create(Model, new ModuleOptions());
        straight.Adapters.Attach(Dora, 3);
        using var optimizer = new AdamW(straight.Trainable) { LearningRate = 1e-2 };
        Update(straight, optimizer, 0);
        AdapterFolder.Write(_folder["saved"], straight.Adapters["dora"].ToContent());
        SafetensorsWriter.Write(_folder["optimizer.safetensors"], optimizer.ExportState());
        Update(straight, optimizer, 1);

        using (Adapter saved = Adapter.Open(_folder["saved"], Model))
        {
            resumed.Adapters.Attach(Dora, 99).Load(saved);
        }

        using var second = new AdamW(resumed.Trainable) { LearningRate = 1e-2 };
        using (SafetensorsFile state = SafetensorsFile.Open(_folder["optimizer.safetensors"]))
        {
            second.ImportState(state.Tensors);
        }

        Update(resumed, second, 1);
        Assert.All(straight.Trainable.Zip(resumed.Trainable), pair => TensorAssert.Same(pair.First.Value, pair.Second.Value, pair.First.Name));

        static void Update(OpenElmModule module, AdamW optimizer, long update)
        {
            module.Adapters.Dropout = new DropoutKey(1, update, 0);
            Loss(module).backward();
            optimizer.Step();
            optimizer.ZeroGrad();
        }
    }

    [Fact]
    public void Freezing_leaves_exactly_what_no_expression_matches()
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        module.Adapters.Attach(Dora with { Freeze = [".*base_layer.*", ".*norm.*", @".*lora_A\.dora", "layers.[12]"] }, 1);
        Assert.Equal(
            ["token_embeddings.lora_embedding_A.dora", "token_embeddings.lora_embedding_B.dora", "layers.0.attn.qkv_proj.lora_B.dora.weight", "layers.0.attn.qkv_proj.lora_magnitude_vector.dora"],
            module.Trainable.Take(4).Select(weight => weight.Name));
        Assert.Equal(2 + (4 * 2), module.Trainable.Length);
        Loss(module).backward();
        Assert.Equal(module.Trainable.Select(weight => weight.Name), module.Adapters["dora"].Weights.Where(weight => weight.Value.grad is not null).Select(weight => weight.Name));
        Assert.Contains("matches no name", Assert.Throws<OpenElmException>(() => module.Adapters.Attach(Lora with { Freeze = ["lora"] }, 1)).Message, StringComparison.Ordinal);
        Assert.Single(module.Adapters);

        using OpenElmModule full = SmallModels.Create(Model, new ModuleOptions());
        full.Freeze(["token", @"layers\.\d+\.attn"]);
        Assert.Equal(full.Weights.Where(weight => weight.Name.StartsWith("layers", StringComparison.Ordinal) ? !weight.Name.Contains(".attn", StringComparison.Ordinal) : weight.Name == "norm.weight").Select(weight => weight.Name), full.Trainable.Select(weight => weight.Name));
        Loss(full).backward();
        Assert.All(full.Weights, weight => Assert.Equal(full.Trainable.Contains(weight), weight.Value.grad is not null));
    }

    [Theory]
    [InlineData(Precision.Fp32)]
    [InlineData(Precision.Autocast)]
    [InlineData(Precision.Bf16)]
    public void Adapters_train_in_single_precision_on_a_model_of_any(Precision precision)
    {
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions { Precision = precision });
        module.Adapters.Attach(Dora, 1);
        Assert.All(module.Trainable, weight => Assert.Equal(ScalarType.Float32, weight.Value.dtype));
        using var optimizer = new AdamW(module.Trainable) { LearningRate = 1e-2 };
        float first = Loss(module).item<float>();
        for (int update = 0; update < 20; update++)
        {
            Loss(module).backward();
            optimizer.Step();
            optimizer.ZeroGrad();
        }

        Assert.InRange(Loss(module).item<float>(), 0, 0.8 * first);
    }

    [Fact]
    public void A_stored_adapter_of_other_modules_is_refused()
    {
        RandomAdapters.Write(_folder["stored"], Middle, Model);
        using Adapter stored = Adapter.Open(_folder["stored"], Model);
        using OpenElmModule module = SmallModels.Create(Model, new ModuleOptions());
        Assert.Contains("adapts other modules", Assert.Throws<OpenElmException>(() => module.Adapters.Attach(Lora, 1).Load(stored)).Message, StringComparison.Ordinal);
        AttachedAdapter frozen = module.Adapters.Attach("stored", stored);
        Assert.DoesNotContain(module.Trainable, weight => weight.Name.Contains(".stored", StringComparison.Ordinal));
        Assert.Equal(stored.Modules.Select(weights => weights.Module), frozen.Modules);
    }

    IEnumerable<AttachedAdapter> AttachRandom(OpenElmModule module, string kind)
    {
        AdapterConfig[] configs = kind switch { "lora" => [Lora], "dora" => [Dora], "middle" => [Middle], _ => [Lora, Dora, Middle] };
        return [.. configs.Select((config, i) =>
        {
            string folder = _folder[Guid.NewGuid().ToString("N")];
            RandomAdapters.Write(folder, config, module.Config, seed: i + 1);
            using Adapter stored = Adapter.Open(folder, module.Config);
            AttachedAdapter attached = module.Adapters.Attach(config, seed: i);
            attached.Load(stored);
            return attached;
        })];
    }

    static Tensor Logits(OpenElmModule module)
    {
        using var noGrad = no_grad();
        return module.call(SmallModels.Ids(2, 9, module.Config.VocabSize)).to_type(ScalarType.Float32);
    }

    static Tensor Loss(OpenElmModule module)
    {
        Tensor ids = SmallModels.Ids(2, 10, module.Config.VocabSize);
        return new CausalLMLoss().Compute(module, ids, ids.roll(-1, 1)).Total;
    }
}
