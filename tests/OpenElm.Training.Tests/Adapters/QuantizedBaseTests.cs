using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Quantization;
using OpenElm.Training.Adapters;
using OpenElm.Training.Losses;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Adapters;

/// <summary>Adapters beside matrices in blocks (QLoRA): the model is the one whose weights are the numbers of the blocks.</summary>
public sealed class QuantizedBaseTests : IDisposable
{
    // Rows of 256 and 512 (Q4_K), of 96 and 160 (Q5_0 in its place), and of 357 and 511, which fit no blocks.
    static readonly OpenElmConfig Model = new OpenElmConfig
    {
        VocabSize = 101,
        MaxContextLength = 32,
        NumTransformerLayers = 2,
        ModelDim = 256,
        HeadDim = 32,
        NumQueryHeads = [3, 5],
        NumKvHeads = [1, 1],
        FfnMultipliers = (1.4, 2.0),
        FfnDimDivisor = 7,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    static readonly OpenElmConfig WholeBlocks = (Model with { NumQueryHeads = [8, 8], NumKvHeads = [1, 1], FfnMultipliers = (1.0, 2.0), FfnDimDivisor = 256 }).Validated();

    readonly TemporaryFolder _folder = new();
    readonly DisposeScope _scope = NewDisposeScope();

    public QuantizedBaseTests() => ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Model, seed: 4));

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    public static TheoryData<DType, string, Precision, KernelChoice, bool> Settings => new()
    {
        { DType.Q4_0, "lora", Precision.Fp32, KernelChoice.Auto, false },
        { DType.Q4_0, "dora", Precision.Fp32, KernelChoice.Auto, false },
        { DType.Q4_K, "lora", Precision.Fp32, KernelChoice.Auto, true },
        { DType.Q4_K, "dora", Precision.Fp32, KernelChoice.Auto, true },
        { DType.Q4_K, "dora", Precision.Fp32, KernelChoice.Torch, false },
        { DType.Q8_0, "lora", Precision.Fp32, KernelChoice.Reference, false },
        { DType.Q4_0, "lora", Precision.Autocast, KernelChoice.Auto, false },
        { DType.Q4_K, "dora", Precision.Autocast, KernelChoice.Auto, true },
        { DType.Q4_K, "lora", Precision.Bf16, KernelChoice.Auto, false },
        { DType.Q4_0, "dora", Precision.Bf16, KernelChoice.Auto, true },
    };

    [Theory, MemberData(nameof(Settings))]
    public void Outputs_and_gradients_are_those_of_the_dequantised_model(DType format, string kind, Precision precision, KernelChoice kernels, bool checkpointing)
    {
        var options = new ModuleOptions { Precision = precision, Kernels = kernels, ActivationCheckpointing = checkpointing };
        using var folder = ModelFolder.Open(_folder["model"]);
        using var quantized = new OpenElmModule(Model, options with { BaseWeights = format });
        quantized.Load(folder);
        using OpenElmModule plain = Dequantized(folder, format, options);

        // A model in bfloat16 takes DoRA's norms of rounded weights; beside blocks they are those of the numbers.
        double allowed = precision == Precision.Bf16 && kind == "dora" ? 0.15 : 1e-6;
        Tensor[] losses = [.. new[] { quantized, plain }.Select(module =>
        {
            string path = _folder[Guid.NewGuid().ToString("N")];
            RandomAdapters.Write(path, Adapter(kind), Model, seed: 2);
            using Adapter stored = OpenElm.Adapters.Adapter.Open(path, Model);
            module.Adapters.Attach(Adapter(kind), seed: 1).Load(stored);
            module.Adapters.Dropout = new DropoutKey(1, 2, 3);
            Tensor loss = Loss(module);
            loss.backward();
            return loss;
        })];
        TensorAssert.CloseNorm(losses[1], losses[0], allowed);
        Assert.Equal(plain.Trainable.Select(weight => weight.Name), quantized.Trainable.Select(weight => weight.Name));
        Assert.All(plain.Trainable.Zip(quantized.Trainable), pair => TensorAssert.CloseNorm(pair.First.Value.grad!, pair.Second.Value.grad!, allowed, pair.First.Name));
        using (no_grad())
        {
            TensorAssert.CloseNorm(plain.call(SmallModels.Ids(2, 9, 101)), quantized.call(SmallModels.Ids(2, 9, 101)), allowed);
        }
    }

    [Fact]
    public void Matrices_of_the_layers_are_blocks_and_the_rest_are_tensors()
    {
        using var folder = ModelFolder.Open(_folder["model"]);
        using var module = new OpenElmModule(Model, new ModuleOptions { BaseWeights = DType.Q4_K });
        module.Load(folder);
        Assert.Equal(
            ["token_embeddings.weight", "layers.0.ffn.proj_2.weight", "layers.1.ffn.proj_2.weight", "norm.weight"],
            module.Weights.Select(weight => weight.Name).Where(name => !name.Contains("_norm", StringComparison.Ordinal)).OrderBy(Order));
        AttachedAdapter adapter = module.Adapters.Attach(Adapter("dora"), 1); // its freeze names the base layers
        Assert.Equal(adapter.Weights, module.Trainable);
        Assert.Throws<InvalidOperationException>(() => module.Initialize(1));
        Assert.Throws<InvalidOperationException>(() => module.ToSources());

        static int Order(string name) => name[0] switch { 't' => 0, 'l' => name[7] - '0' + 1, _ => 9 };
    }

    [Fact]
    public void Merged_adapters_compute_what_unmerged_ones_do()
    {
        using var folder = ModelFolder.Open(_folder["model"]);
        using var module = new OpenElmModule(Model, new ModuleOptions { BaseWeights = DType.Q4_K });
        module.Load(folder);
        RandomAdapters.Write(_folder["adapter"], Adapter("dora"), Model, seed: 2);
        using Adapter stored = OpenElm.Adapters.Adapter.Open(_folder["adapter"], Model);
        module.Adapters.Attach("dora", stored);
        using var noGrad = no_grad();
        Tensor before = module.call(SmallModels.Ids(2, 9, 101));
        module.Adapters.Merge();
        TensorAssert.CloseNorm(before, module.call(SmallModels.Ids(2, 9, 101)), 1e-5);
        module.Adapters.Unmerge();
        TensorAssert.Same(before, module.call(SmallModels.Ids(2, 9, 101)));
    }

    [Fact]
    public void Blocks_of_a_quantised_file_are_taken_as_they_are()
    {
        ModelFolderWriter.Write(_folder["whole"], RandomModel.Create(WholeBlocks, seed: 4));
        using (var source = OpenElm.Checkpoints.Checkpoint.Open(_folder["whole"]))
        {
            QuantizedModel.Create(source, QuantizationRecipe.Parse("Q4_K")).Write(_folder["model.gguf"]);
        }

        using var file = OpenElm.Checkpoints.Checkpoint.Open(_folder["model.gguf"]);
        using var quantized = new OpenElmModule(WholeBlocks, new ModuleOptions { BaseWeights = DType.Q4_K });
        using var plain = new OpenElmModule(WholeBlocks, new ModuleOptions());
        quantized.Load(file.Weights);
        plain.Load(file.Weights);
        using var noGrad = no_grad();
        TensorAssert.CloseNorm(plain.call(SmallModels.Ids(2, 9, 101)), quantized.call(SmallModels.Ids(2, 9, 101)), 1e-6);
    }

    [Fact]
    public void Weights_that_do_not_fit_are_all_named()
    {
        using var folder = ModelFolder.Open(_folder["model"]);
        using var module = new OpenElmModule(WholeBlocks, new ModuleOptions { BaseWeights = DType.Q4_0 });
        string message = Assert.Throws<OpenElmException>(() => module.Load(folder)).Message;
        Assert.Contains("layers.0.attn.qkv_proj.weight is", message, StringComparison.Ordinal);
        Assert.Contains("layers.1.ffn.proj_2.weight is", message, StringComparison.Ordinal);
    }

    static AdapterConfig Adapter(string kind) => RandomAdapters.Paper(dora: kind == "dora", rank: 3) with { Name = kind };

    // The reference: blocks made and read row by row, in tensors.
    static OpenElmModule Dequantized(ModelFolder folder, DType format, ModuleOptions options)
    {
        var module = new OpenElmModule(Model, options);
        module.Load(folder);
        using var noGrad = no_grad();
        foreach (NamedWeight weight in module.Weights.Where(weight => weight.Name.Contains("proj", StringComparison.Ordinal)))
        {
            int columns = (int)weight.Value.size(1);
            DType chosen = TensorFormat.Fitting(format, columns).DType;
            if (!chosen.IsBlocked())
            {
                continue;
            }

            float[] numbers = folder.Weights[weight.Name].ToFloats();
            byte[] blocks = new byte[chosen.ByteCount(folder.Weights[weight.Name].Shape)];
            BlockFormats.Quantize(chosen, numbers, blocks);
            BlockFormats.Dequantize(chosen, blocks, numbers);
            weight.Value.copy_(tensor(numbers, weight.Value.shape));
        }

        return module;
    }

    static Tensor Loss(OpenElmModule module)
    {
        Tensor ids = SmallModels.Ids(2, 10, 101);
        return new CausalLMLoss().Compute(module, ids, ids.roll(-1, 1)).Total;
    }
}
