using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Training.Objectives;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Objectives;

/// <summary>Records that share a sequence must train exactly as if each had one to itself; alone in the process, because one test counts all live tensors.</summary>
[Collection(nameof(ProcessWide))]
public sealed class PackingTests
{
    static readonly int[] Lengths = [5, 1, 9, 3, 7]; // positions; rows of 10: [5, 1, 3], [9], [7]

    public static TheoryData<KernelChoice, bool, string> Cases => new()
    {
        { KernelChoice.Reference, false, nameof(SmallModels.Layerwise) },
        { KernelChoice.Torch, false, nameof(SmallModels.MultiQueryUntied) },
        { KernelChoice.Fused, false, nameof(SmallModels.Layerwise) },
        { KernelChoice.Fused, true, nameof(SmallModels.Layerwise) },
        { KernelChoice.Fused, false, nameof(SmallModels.MultiHeadNoGlu) },
    };

    [Theory, MemberData(nameof(Cases))]
    public void Packed_records_give_the_losses_and_gradients_of_separate_ones(KernelChoice kernels, bool checkpointing, string model)
    {
        OpenElmConfig config = SmallModels.Named(model);
        using var module = SmallModels.Create(config, new ModuleOptions { Kernels = kernels, ActivationCheckpointing = checkpointing });
        TokenBatch packed = Packed(config);
        (double loss, Dictionary<string, Tensor> gradients) = Run(module, [packed]);

        (double expectedLoss, Dictionary<string, Tensor> expected) = Run(module, Separate(config));

        // fp32; only the order of sums differs.
        Assert.Equal(expectedLoss, loss, 2e-6);
        foreach ((string name, Tensor gradient) in gradients)
        {
            TensorAssert.CloseNorm(expected[name], gradient, 2e-5, name);
        }
    }

    [Fact]
    public void Without_positions_the_same_batch_leaks_and_the_loss_shows_it()
    {
        using var module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        TokenBatch packed = Packed(SmallModels.Layerwise);
        double loss = Run(module, [packed]).Loss, leaking = Run(module, [packed with { Positions = null }]).Loss;
        Assert.True(Math.Abs(loss - leaking) > 1e-3, $"{loss} and {leaking} should differ");
    }

    [Fact]
    public void Live_tensors_do_not_grow_with_packed_batches()
    {
        using var module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        TokenBatch packed = Packed(SmallModels.Layerwise);
        Run(module, [packed]);
        long before = Tensor.TotalCount;
        Run(module, [packed], keep: false);
        Run(module, [packed], keep: false);
        Assert.True(Tensor.TotalCount <= before, $"{before} tensors before, {Tensor.TotalCount} after");
    }

    // As the trainer accumulates with token_mean: each batch weighs as much as it has targets.
    static (double Loss, Dictionary<string, Tensor> Gradients) Run(OpenElmModule module, IReadOnlyList<TokenBatch> batches, bool keep = true)
    {
        using var scope = NewDisposeScope();
        var objective = new CausalLMObjective(new LossConfig(), TokenBatch.IgnoredTarget);
        double total = batches.Sum(batch => objective.SizeOf(batch).Targets), loss = 0;
        foreach (TokenBatch batch in batches)
        {
            using var microBatch = NewDisposeScope();
            ObjectiveResult result = objective.Compute(module, batch);
            double share = objective.SizeOf(batch).Targets / total;
            (result.Loss * share).backward();
            loss += result.Loss.item<float>() * share;
        }

        var gradients = new Dictionary<string, Tensor>();
        foreach (NamedWeight weight in module.Weights)
        {
            if (keep)
            {
                gradients[weight.Name] = weight.Value.grad!.clone().DetachFromDisposeScope();
            }

            weight.Value.grad!.Dispose();
            weight.Value.grad = null;
        }

        return (loss, gradients);
    }

    static ExampleSet Examples(OpenElmConfig config)
    {
        var random = new Random(3);
        return new([.. Lengths.Select((length, i) => new TokenizedExample(
            [.. Enumerable.Range(0, length + 1).Select(_ => random.Next(config.VocabSize))], [.. Enumerable.Range(0, length + 1).Select(t => t % 3 != 2)], $"x row {i}"))], new(5, 0, 0, 0));
    }

    static TokenBatch Packed(OpenElmConfig config)
    {
        using var stream = new ExampleStream(Examples(config), new ExampleConfig { Files = ["x.jsonl"], Batching = ExampleBatching.Packing, Shuffle = false }, 10, microBatch: 8, seed: 0);
        TokenBatch batch = stream.Next();
        Assert.Equal((3, 9), (batch.Sequences, batch.SequenceLength));
        return batch;
    }

    static List<TokenBatch> Separate(OpenElmConfig config) => [.. ExampleStream.Once(Examples(config), microBatch: 1)];
}
