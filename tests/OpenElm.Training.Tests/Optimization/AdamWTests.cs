using OpenElm.Checkpoints;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Optimization;

public sealed class AdamWTests
{
    [Fact]
    public void Updates_are_those_of_the_stock_optimizer_with_two_groups()
    {
        using OpenElmModule ours = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions()), stock = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using var optimizer = new AdamW(ours.Weights) { LearningRate = 2e-3 };
        TorchSharp.Modules.Parameter[] all = [.. stock.Weights.Select(weight => weight.Value)];
        using optim.Optimizer reference = optim.AdamW(
            [
                new TorchSharp.Modules.AdamW.ParamGroup { Parameters = all.Where(p => p.dim() >= 2), Options = new() { weight_decay = 0.1 } },
                new TorchSharp.Modules.AdamW.ParamGroup { Parameters = all.Where(p => p.dim() < 2), Options = new() { weight_decay = 0.0 } },
            ], lr: 2e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8);
        for (int step = 0; step < 5; step++)
        {
            using var scope = NewDisposeScope();
            var random = new Random(step);
            foreach ((NamedWeight a, NamedWeight b) in ours.Weights.Zip(stock.Weights))
            {
                Tensor gradient = tensor([.. Enumerable.Range(0, (int)a.Value.numel()).Select(_ => random.NextSingle() - 0.5f)], a.Value.shape);
                a.Value.grad = gradient.clone();
                b.Value.grad = gradient.clone();
            }

            optimizer.Step();
            reference.step();
        }

        // The fused kernel orders its roundings otherwise.
        Assert.All(ours.Weights.Zip(stock.Weights), pair => TensorAssert.Close(pair.Second.Value, pair.First.Value, 1e-5, 1e-6, pair.First.Name));
    }

    [Theory]
    [InlineData(Precision.Fp32)]
    [InlineData(Precision.Bf16)]
    public void A_resumed_optimizer_goes_on_bit_for_bit(Precision precision)
    {
        using var folder = new TemporaryFolder();
        var options = new ModuleOptions { Precision = precision };
        using OpenElmModule straight = SmallModels.Create(SmallModels.Layerwise, options);
        using var optimizer = new AdamW(straight.Weights) { LearningRate = 1e-2 };
        Train(straight, optimizer, 0, 3);
        SafetensorsWriter.Write(folder["weights"], straight.ToSources());
        SafetensorsWriter.Write(folder["state"], optimizer.ExportState());

        using OpenElmModule resumed = new(SmallModels.Layerwise, options);
        using (SafetensorsFile weights = SafetensorsFile.Open(folder["weights"]))
        using (SafetensorsFile state = SafetensorsFile.Open(folder["state"]))
        {
            resumed.Load(weights.Tensors);
            using var second = new AdamW(resumed.Weights) { LearningRate = 1e-2 };
            second.ImportState(state.Tensors);
            Train(resumed, second, 3, 6);
            Train(straight, optimizer, 3, 6);
            Assert.All(optimizer.MasterWeights().Zip(second.MasterWeights()), pair => TensorAssert.Same(pair.First.Tensor, pair.Second.Tensor, pair.First.Name));
        }

        Assert.All(straight.Weights.Zip(resumed.Weights), pair => TensorAssert.Same(pair.First.Value, pair.Second.Value, pair.First.Name));
    }

    [Fact]
    public void Weights_in_bfloat16_take_steps_smaller_than_their_rounding()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Precision = Precision.Bf16 });
        using var optimizer = new AdamW(module.Weights, new AdamWOptions { WeightDecay = 0 }) { LearningRate = 1e-4 };
        TorchSharp.Modules.Parameter norm = module.Weights[1].Value; // starts at 1; the next smaller bfloat16 is 0.996
        for (int step = 0; step < 60; step++)
        {
            norm.grad = ones_like(norm);
            optimizer.Step();
        }

        Assert.Equal(0.994, optimizer.MasterWeights()[1].Tensor[0].item<float>(), 1e-4);
        Assert.True(norm.lt(1).all().item<bool>());
    }

    [Fact]
    public void A_batch_can_be_learned_by_heart()
    {
        foreach (Precision precision in Enum.GetValues<Precision>())
        {
            using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Precision = precision });
            using var optimizer = new AdamW(module.Weights) { LearningRate = 1e-2 };
            float last = Train(module, optimizer, 7, 7 + 120, sameBatch: true);

            Assert.True(last < 0.1, $"{precision}: {last}");
        }
    }

    [Fact]
    public void A_state_of_another_model_is_refused()
    {
        using var folder = new TemporaryFolder();
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using var optimizer = new AdamW(module.Weights);
        SafetensorsWriter.Write(folder["weights"], module.ToSources());
        using SafetensorsFile weights = SafetensorsFile.Open(folder["weights"]);

        Assert.Contains("exp_avg.token_embeddings.weight is missing", Assert.Throws<OpenElmException>(() => optimizer.ImportState(weights.Tensors)).Message);
    }

    static float Train(OpenElmModule module, AdamW optimizer, int from, int to, bool sameBatch = false)
    {
        float last = float.NaN;
        for (int step = from; step < to; step++)
        {
            using var scope = NewDisposeScope();
            Tensor tokens = SmallModels.Ids(2, 17, 101, sameBatch ? from : step);
            LossResult loss = new CausalLMLoss().Compute(module, tokens[TensorIndex.Colon, ..16], tokens[TensorIndex.Colon, 1..]);
            loss.Total.backward();
            optimizer.Step();
            optimizer.ZeroGrad();
            last = loss.CrossEntropy.item<float>();
        }

        return last;
    }
}
