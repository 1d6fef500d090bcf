using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Parity.Tests;

/// <summary>The model is written twice, in tensors and in spans; on random models of many shapes both must be the same model.</summary>
public sealed class RuntimesAgreeTests
{
    static readonly OpenElmConfig Small = new()
    {
        VocabSize = 77,
        MaxContextLength = 64,
        NumTransformerLayers = 3,
        ModelDim = 60,
        HeadDim = 10,
        FfnDimDivisor = 7,
        FfnMultipliers = (0.5, 3.0),
        QkvMultipliers = (0.5, 1.0),
    };

    static readonly Dictionary<string, OpenElmConfig> Architectures = new()
    {
        ["multi-head, untied"] = Small,
        ["grouped, QK-norm, tied"] = Small with { QueryHeadsPerKvHead = 2, NormalizeQkProjections = true, ShareInputOutputLayers = true },
        ["multi-query"] = Small with { QueryHeadsPerKvHead = 6, QkvMultipliers = 1.0 },
        ["no gate"] = Small with { FfnWithGlu = false },
        ["epsilon and base"] = Small with { RmsNormEps = 1e-3, RopeFreqConstant = 500 },
        ["explicit heads"] = Small with { NumQueryHeads = [4, 1, 6], NumKvHeads = [2, 1, 3] },
        ["one layer"] = Small with { NumTransformerLayers = 1, QkvMultipliers = 1.0, FfnMultipliers = 1.0 },
    };

    public static TheoryData<string> Names => [.. Architectures.Keys];

    [Theory, MemberData(nameof(Names))]
    public void Logits_and_losses_agree(string name)
    {
        OpenElmConfig config = Architectures[name].Validated();
        var random = new Random(5);
        const int Batch = 2, Seq = 37;
        long[] ids = [.. Enumerable.Range(0, Batch * Seq).Select(_ => (long)random.Next(config.VocabSize))];
        long[] masked = [.. Enumerable.Range(0, Batch * (Seq - 1)).Select(i => i % 3 == 0 ? 76L : random.Next(76))];
        var model = new GoldenModel(config, Weights(config), new GoldenIds([Batch, Seq], ids), new GoldenIds([Batch, Seq - 1], masked), PaddingId: 76, ZLossFactor: 1e-4);

        using var training = new TrainingGoldenRuntime();
        GoldenModelOutput expected = training.RunModel(model)!;
        foreach (string kernels in OpenElmModel.AvailableKernels)
        {
            using var inference = new InferenceGoldenRuntime(new InferenceOptions { Kernels = kernels });
            GoldenModelOutput actual = inference.RunModel(model)!;
            Assert.Equal(expected.Logits.Length, actual.Logits.Length);
            Assert.All(expected.Logits.Zip(actual.Logits), pair => Assert.Equal(pair.First, pair.Second, GoldenAllowances.Logits));
            Assert.Equal(expected.Losses!.CrossEntropy, actual.Losses!.CrossEntropy, GoldenAllowances.Losses);
            Assert.Equal(expected.MaskedLosses!.CrossEntropy, actual.MaskedLosses!.CrossEntropy, GoldenAllowances.Losses);
            Assert.Equal(expected.MaskedLosses.Z, actual.MaskedLosses.Z, GoldenAllowances.Losses);
        }
    }

    static ImmutableDictionary<string, GoldenTensor> Weights(OpenElmConfig config)
    {
        var random = new Random(11);
        return RandomModel.Create(config, 2).Weights.ToImmutableDictionary(weight => weight.Name, weight =>
        {
            using var bytes = new MemoryStream();
            weight.Write(bytes);
            float[] values = MemoryMarshal.Cast<byte, float>(bytes.ToArray()).ToArray();
            if (weight.Name.EndsWith("norm.weight", StringComparison.Ordinal))
            {
                values = [.. values.Select(value => value + (random.NextSingle() / 2))]; // norms of 1 would hide a forgotten weight
            }

            return new GoldenTensor(weight.Shape, values);
        });
    }
}
