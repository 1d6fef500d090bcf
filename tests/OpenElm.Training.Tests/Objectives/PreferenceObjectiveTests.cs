using System.Collections.Immutable;
using OpenElm.Data;
using OpenElm.Training.Objectives;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Objectives;

/// <summary>The preference losses of openelm.md 7.2 against their formulas, on log-probabilities taken from all logits.</summary>
[Collection(nameof(ProcessWide))]
public sealed class PreferenceObjectiveTests
{
    static readonly PreferenceSet Set = new(
    [
        new([1, 20, 31], [5, 6, 7, 2], [8, 2], "pair 1"),
        new([1, 44], [9, 2], [10, 11, 12, 13, 14, 2], "pair 2"),
        new([1, 3, 3, 3, 3, 60], [70, 71, 2], [72, 73, 2], "pair 3"),
    ], new PreferenceStatistics(3, 0, 0, 0, 0, 0));

    [Theory]
    [InlineData(PreferenceLossKind.Hinge, Precision.Fp32, 1.0, 1e-5)]
    [InlineData(PreferenceLossKind.Sigmoid, Precision.Fp32, 0.693147, 1e-5)]
    [InlineData(PreferenceLossKind.Hinge, Precision.Bf16, 1.0, 1e-2)]
    [InlineData(PreferenceLossKind.Sigmoid, Precision.Bf16, 0.693147, 1e-2)]
    [InlineData(PreferenceLossKind.Ipo, Precision.Fp32, 2500, 0.05)] // (0 − 1/(2 · 0.01))²
    public void Before_the_first_update_the_loss_is_what_the_paper_says(PreferenceLossKind kind, Precision precision, double expected, double allowance)
    {
        using var model = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Precision = precision });
        // The reference in batches of one, training in one of three: other widths, other products.
        var reference = ReferenceLogProbabilities.Compute(model, Set, microBatch: 1, cancel: TestContext.Current.CancellationToken);
        using var scope = NewDisposeScope();
        ObjectiveResult result = new PreferenceObjective(new PreferenceLossConfig { Kind = kind }, reference).Compute(model, Batch());
        Assert.Equal(expected, result.Loss.item<float>(), allowance);
        Assert.Equal(0, result.Measured[2].item<float>(), 0.01 * (precision == Precision.Fp32 ? 1e-4 : 1)); // margin
    }

    [Theory]
    [InlineData(PreferenceLossKind.Sigmoid, 0)]
    [InlineData(PreferenceLossKind.Sigmoid, 0.1)]
    [InlineData(PreferenceLossKind.Hinge, 0)]
    [InlineData(PreferenceLossKind.Ipo, 0)]
    public void Loss_and_measurements_are_their_formulas(PreferenceLossKind kind, double smoothing)
    {
        const double Beta = 0.2;
        using var model = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        PairLogProbabilities[] reference = [new(-17, -9.5f), new(-8, -30), new(-20, -8)];
        using var scope = NewDisposeScope();
        ObjectiveResult result = Objective(kind, Beta, smoothing, reference).Compute(model, Batch());

        (double[] chosen, double[] rejected, double[] chosenLogits, double[] rejectedLogits) = (new double[3], new double[3], new double[3], new double[3]);
        for (int i = 0; i < 3; i++)
        {
            (chosen[i], chosenLogits[i]) = Score(model, Set.Pairs[i].Prompt, Set.Pairs[i].Chosen);
            (rejected[i], rejectedLogits[i]) = Score(model, Set.Pairs[i].Prompt, Set.Pairs[i].Rejected);
        }

        double[] rewardChosen = [.. chosen.Select((p, i) => Beta * (p - reference[i].Chosen))], rewardRejected = [.. rejected.Select((p, i) => Beta * (p - reference[i].Rejected))];
        double[] margins = [.. rewardChosen.Zip(rewardRejected, (c, r) => c - r)]; // βΔ
        double Sigma(double x) => 1 / (1 + Math.Exp(-x));
        double expected = margins.Average(x => kind switch
        {
            PreferenceLossKind.Hinge => Math.Max(0, 1 - x),
            PreferenceLossKind.Ipo => Math.Pow((x / Beta) - (1 / (2 * Beta)), 2),
            _ => -((1 - smoothing) * Math.Log(Sigma(x))) - (smoothing * Math.Log(Sigma(-x))),
        });
        Assert.Equal(expected, result.Loss.item<float>(), 1e-5 * Math.Abs(expected));
        double[] measured = [.. result.Measured.Select(value => (double)value.item<float>())];
        double[] wanted =
        [
            expected, margins.Average(x => x > 0 ? 1.0 : 0), margins.Average(), rewardChosen.Average(), rewardRejected.Average(),
            chosen.Average(), rejected.Average(), chosenLogits.Average(), rejectedLogits.Average(),
        ];
        Assert.InRange(wanted[1], 0.1, 0.9); // so that both kinds of pairs are there
        for (int i = 0; i < wanted.Length; i++)
        {
            Assert.Equal(wanted[i], measured[i], Math.Max(2e-6, 1e-5 * Math.Abs(wanted[i])));
        }
    }

    [Theory]
    [InlineData(KernelChoice.Torch, false, nameof(SmallModels.MultiQueryUntied))]
    [InlineData(KernelChoice.Fused, false, nameof(SmallModels.Layerwise))]
    [InlineData(KernelChoice.Fused, true, nameof(SmallModels.Layerwise))]
    public void Gradients_are_those_of_the_reference_kernels(KernelChoice kernels, bool checkpointing, string name)
    {
        Dictionary<string, Tensor> Gradients(ModuleOptions options)
        {
            using var model = SmallModels.Create(SmallModels.Named(name), options);
            using var scope = NewDisposeScope();
            Objective(PreferenceLossKind.Sigmoid, 0.2, 0, [new(-17, -9.5f), new(-8, -30), new(-20, -8)]).Compute(model, Batch()).Loss.backward();
            return model.Weights.ToDictionary(weight => weight.Name, weight => weight.Value.grad!.clone().DetachFromDisposeScope());
        }

        Dictionary<string, Tensor> expected = Gradients(new ModuleOptions { Kernels = KernelChoice.Reference }), actual = Gradients(new ModuleOptions { Kernels = kernels, ActivationCheckpointing = checkpointing });
        Assert.NotEmpty(expected);
        foreach ((string weight, Tensor gradient) in expected)
        {
            TensorAssert.CloseNorm(gradient, actual[weight], 2e-5, weight);
        }
    }

    [Fact]
    public void Prompts_and_padding_have_no_part_in_the_sums()
    {
        BatchSize size = Objective(PreferenceLossKind.Hinge, 0.1, 0, new PairLogProbabilities[3]).SizeOf(Batch());
        Assert.Equal((6 * 8, 3, 4 + 2 + 2 + 6 + 3 + 3), (size.Positions, size.Terms, size.Targets)); // the widest sequence has 9 tokens
    }

    [Fact]
    public void Live_tensors_do_not_grow_with_updates()
    {
        using var model = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        PreferenceObjective objective = Objective(PreferenceLossKind.Sigmoid, 0.1, 0, new PairLogProbabilities[3]);
        void Step()
        {
            using var scope = NewDisposeScope();
            objective.Compute(model, Batch()).Loss.backward();
        }

        Step();
        Step();
        long before = Tensor.TotalCount;
        Step();
        Step();
        Assert.True(Tensor.TotalCount <= before, $"{before} tensors before, {Tensor.TotalCount} after");
    }

    [Fact]
    public void Impossible_settings_are_refused()
    {
        string[] Problems(PreferenceLossConfig config)
        {
            var problems = new List<string>();
            config.Validate("loss", problems);
            return [.. problems];
        }

        Assert.Empty(Problems(new PreferenceLossConfig { LabelSmoothing = 0.1 }));
        Assert.Contains("loss.beta is 0", Assert.Single(Problems(new PreferenceLossConfig { Beta = 0 })), StringComparison.Ordinal);
        Assert.Contains("[0, 0.5)", Assert.Single(Problems(new PreferenceLossConfig { LabelSmoothing = 0.5 })), StringComparison.Ordinal);
        Assert.Contains("only kind sigmoid", Assert.Single(Problems(new PreferenceLossConfig { Kind = PreferenceLossKind.Hinge, LabelSmoothing = 0.1 })), StringComparison.Ordinal);
    }

    static PreferenceBatch Batch() => Assert.Single(PreferenceStream.Once(Set, 3));

    static PreferenceObjective Objective(PreferenceLossKind kind, double beta, double smoothing, PairLogProbabilities[] reference) =>
        new(new PreferenceLossConfig { Kind = kind, Beta = beta, LabelSmoothing = smoothing }, new ReferenceLogProbabilities([.. reference]));

    // One sequence alone, from all its logits.
    static (double LogProbability, double MeanLogit) Score(OpenElmModule model, ImmutableArray<int> prompt, ImmutableArray<int> response)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long[] ids = [.. prompt.Concat(response).Select(id => (long)id)];
        Tensor logits = model.forward(tensor(ids[..^1], [1, ids.Length - 1])).to(ScalarType.Float64)[0]; // [seq, vocab]
        Tensor logProbabilities = nn.functional.log_softmax(logits, -1);
        int[] places = [.. Enumerable.Range(prompt.Length - 1, response.Length)];
        return (places.Sum(place => logProbabilities[place, ids[place + 1]].item<double>()), places.Average(place => logits[place].mean().item<double>()));
    }
}
