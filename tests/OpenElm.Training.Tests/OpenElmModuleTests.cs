using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Training.Losses;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests;

public sealed class OpenElmModuleTests
{
    public static TheoryData<string> Names => [nameof(SmallModels.Layerwise), nameof(SmallModels.MultiQueryUntied), nameof(SmallModels.MultiHeadNoGlu)];

    [Theory, MemberData(nameof(Names))]
    public void Weights_are_those_of_the_configuration_in_its_order(string name)
    {
        OpenElmConfig config = SmallModels.Named(name);
        using var module = new OpenElmModule(config);

        Assert.Equal(
            TensorShapes.Of(config).Select(shape => $"{shape.Name} [{string.Join(", ", shape.Shape)}]"),
            module.Weights.Select(weight => $"{weight.Name} [{string.Join(", ", weight.Value.shape)}]"));
        Assert.Equal(ParameterCount.Of(config).Total, module.Weights.Sum(weight => weight.Value.numel()));
        Assert.Equal(module.Weights.Length, module.parameters().Count());
    }

    // fp32: only the order of sums differs. bf16: both round to 8 bits, at other places; gradients of norms are sums of many
    // such errors of both signs around a small total.
    [Theory]
    [InlineData(nameof(SmallModels.Layerwise), Precision.Fp32, 1e-5)]
    [InlineData(nameof(SmallModels.MultiQueryUntied), Precision.Fp32, 1e-5)]
    [InlineData(nameof(SmallModels.MultiHeadNoGlu), Precision.Fp32, 1e-5)]
    [InlineData(nameof(SmallModels.Layerwise), Precision.Autocast, 0.1)]
    [InlineData(nameof(SmallModels.MultiQueryUntied), Precision.Autocast, 0.1)]
    [InlineData(nameof(SmallModels.Layerwise), Precision.Bf16, 0.1)]
    [InlineData(nameof(SmallModels.MultiHeadNoGlu), Precision.Bf16, 0.1)]
    public void Fused_kernels_agree_with_the_reference(string name, Precision precision, double allowance)
    {
        using var scope = NewDisposeScope();
        OpenElmConfig config = SmallModels.Named(name);
        Tensor ids = SmallModels.Ids(3, 13, config.VocabSize), targets = SmallModels.Ids(3, 13, config.VocabSize, seed: 6);
        using OpenElmModule reference = SmallModels.Create(config, new ModuleOptions { Kernels = KernelChoice.Reference, Precision = precision });
        using OpenElmModule fused = SmallModels.Create(config, new ModuleOptions { Kernels = KernelChoice.Fused, Precision = precision });
        var loss = new CausalLMLoss();

        TensorAssert.CloseNorm(reference.call(ids), fused.call(ids), Math.Min(allowance, 0.02), "logits");
        LossResult expected = loss.Compute(reference, ids, targets), actual = loss.Compute(fused, ids, targets);
        expected.Total.backward();
        actual.Total.backward();

        Assert.Equal(expected.Total.item<float>(), actual.Total.item<float>(), precision == Precision.Fp32 ? 1e-5 : 2e-2);
        foreach ((NamedWeight r, NamedWeight f) in reference.Weights.Zip(fused.Weights))
        {
            TensorAssert.CloseNorm(r.Value.grad!, f.Value.grad!, allowance, r.Name);
        }
    }

    [Theory]
    [InlineData(Precision.Autocast)]
    [InlineData(Precision.Bf16)]
    public void Lower_precision_stays_near_single_precision_and_keeps_its_types(Precision precision)
    {
        using var scope = NewDisposeScope();
        Tensor ids = SmallModels.Ids(2, 16, 101);
        using OpenElmModule single = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using OpenElmModule lower = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Precision = precision });

        TensorAssert.CloseNorm(single.call(ids), lower.call(ids), 0.03, "logits"); // bfloat16 has 8 bits: 0.4 % for each rounding
        Assert.Equal(ScalarType.BFloat16, lower.call(ids).dtype);
        ScalarType residual = precision == Precision.Autocast ? ScalarType.Float32 : ScalarType.BFloat16;
        Assert.Equal(residual, lower.ComputeHidden(ids).dtype);
        Assert.All(lower.Weights, weight => Assert.Equal(residual, weight.Value.dtype));
    }

    [Theory]
    [InlineData(KernelChoice.Reference, Precision.Fp32)]
    [InlineData(KernelChoice.Fused, Precision.Fp32)]
    [InlineData(KernelChoice.Fused, Precision.Autocast)]
    public void Checkpointing_changes_no_bit_of_any_gradient(KernelChoice kernels, Precision precision)
    {
        using var scope = NewDisposeScope();
        Tensor ids = SmallModels.Ids(2, 16, 101), targets = SmallModels.Ids(2, 16, 101, seed: 6);
        using OpenElmModule plain = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Kernels = kernels, Precision = precision });
        using OpenElmModule checkpointing = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Kernels = kernels, Precision = precision, ActivationCheckpointing = true });
        foreach (OpenElmModule module in new[] { plain, checkpointing })
        {
            new CausalLMLoss().Compute(module, ids, targets).Total.backward();
        }

        foreach ((NamedWeight a, NamedWeight b) in plain.Weights.Zip(checkpointing.Weights))
        {
            TensorAssert.Same(a.Value.grad!, b.Value.grad!, a.Name);
        }
    }

    [Fact]
    public void Look_ups_of_the_padding_row_send_no_gradient()
    {
        using var scope = NewDisposeScope();
        using OpenElmModule module = SmallModels.Create(SmallModels.MultiQueryUntied, new ModuleOptions { PaddingId = 7 });
        new CausalLMLoss().Compute(module, tensor(new long[] { 3, 7, 9, 7 }, [1, 4]), tensor(new long[] { 7, 9, 7, 1 }, [1, 4])).Total.backward();

        Tensor gradient = module.Weights[0].Value.grad!;
        Assert.Equal(0, gradient[7].abs().sum().item<float>());
        Assert.True(gradient[3].abs().sum().item<float>() > 0);
    }

    [Fact]
    public void Initial_weights_have_the_deviations_of_the_reference()
    {
        using var scope = NewDisposeScope();
        OpenElmConfig config = (SmallModels.Layerwise with { ModelDim = 256, HeadDim = 32, FfnDimDivisor = 64, VocabSize = 1000 }).Validated();
        using OpenElmModule module = SmallModels.Create(config, new ModuleOptions(), seed: 3);
        foreach ((string name, TorchSharp.Modules.Parameter weight) in module.Weights)
        {
            if (weight.dim() == 1)
            {
                Assert.True(weight.eq(1).all().item<bool>(), name);
                continue;
            }

            // d^−½; the two that write to the residual stream d^−½ · (2N)^−½.
            double expected = name.Contains("out_proj") || name.Contains("proj_2") ? 0.0625 / Math.Sqrt(6) : 0.0625;
            double n = weight.numel();
            Assert.Equal(expected, weight.std().item<float>(), expected * 5 / Math.Sqrt(2 * n));   // five standard errors
            Assert.Equal(0, weight.mean().item<float>(), expected * 5 / Math.Sqrt(n));
        }
    }

    [Fact]
    public void The_seed_decides_the_weights()
    {
        using OpenElmModule first = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions(), 11);
        using OpenElmModule same = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Kernels = KernelChoice.Reference }, 11);
        using OpenElmModule other = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions(), 12);

        Assert.All(first.Weights.Zip(same.Weights), pair => TensorAssert.Same(pair.First.Value, pair.Second.Value, pair.First.Name));
        Assert.False(first.Weights[0].Value.eq(other.Weights[0].Value).all().item<bool>());
    }

    [Theory]
    [InlineData(Precision.Fp32)]
    [InlineData(Precision.Bf16)]
    public void Weights_survive_a_model_folder(Precision precision)
    {
        using var folder = new TemporaryFolder();
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Precision = precision });
        ModelFolderWriter.Write(folder["model"], new ModelContent(module.Config, module.ToSources()));

        using ModelFolder stored = ModelFolder.Open(folder["model"]);
        using var loaded = new OpenElmModule(stored.Config, new ModuleOptions { Precision = precision });
        loaded.Load(stored.Weights);

        Assert.All(module.Weights.Zip(loaded.Weights), pair => TensorAssert.Same(pair.First.Value, pair.Second.Value, pair.First.Name));
    }

    [Fact]
    public void Weights_of_another_model_are_refused_with_every_misfit()
    {
        using var folder = new TemporaryFolder();
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        ModelFolderWriter.Write(folder["model"], new ModelContent(module.Config, module.ToSources()));
        using ModelFolder stored = ModelFolder.Open(folder["model"]);
        using var other = new OpenElmModule(SmallModels.MultiQueryUntied);

        var e = Assert.Throws<OpenElmException>(() => other.Load(stored.Weights));

        Assert.Contains("classifier.weight is missing", e.Message);
        Assert.Contains("layers.0.attn.qkv_proj.weight is [", e.Message);
    }

    [Theory]
    [InlineData("gpu", "gpu is no device")]
    [InlineData("cuda:999", "There is no device cuda:999")]
    public void Devices_that_do_not_exist_are_refused_in_words(string device, string words) =>
        Assert.Contains(words, Assert.Throws<OpenElmException>(() => new OpenElmModule(SmallModels.Layerwise, new ModuleOptions { Device = device })).Message);

    [Fact]
    public void Sequences_beyond_the_table_make_it_longer()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using OpenElmModule longer = SmallModels.Create(SmallModels.Layerwise with { MaxContextLength = 128 }, new ModuleOptions());
        Tensor ids = SmallModels.Ids(1, 70, 101);

        TensorAssert.Same(longer.call(ids), module.call(ids), "logits");
    }
}
