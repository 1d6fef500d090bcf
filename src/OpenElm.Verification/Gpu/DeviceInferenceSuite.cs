using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Verification.Gpu;

/// <summary>
/// Inference on a device against the processor's, teacher-forced, on random models: the widths of the four sizes (their narrowest, a middle and their
/// widest layer), odd ones, and a context of 4,096. Allowances are in docs/numerics.md.
/// </summary>
public static class DeviceInferenceSuite
{
    /// <summary>What logits in single precision may be off by: the order of sums.</summary>
    public const double Fp32Allowance = 1e-4;

    /// <summary>The relative norm of an error that logits in bfloat16 may have.</summary>
    public const double Bf16Allowance = 0.06;

    const int Prompt = 70, Steps = 12, Long = 4096; // a prompt that is no multiple of anything; steps behind it

    /// <summary>Runs every check.</summary>
    /// <param name="fp32">The device in single precision.</param>
    /// <param name="bf16">The device in bfloat16.</param>
    /// <returns>One result for each model.</returns>
    public static IEnumerable<GoldenResult> Run(InferenceDevice fp32, InferenceDevice bf16)
    {
        foreach ((string name, OpenElmConfig config, int prompt) in Models())
        {
            yield return GoldenResult.Of(name, "random", Compare(config, prompt, fp32, bf16));
        }
    }

    static IEnumerable<(string Name, OpenElmConfig Config, int Prompt)> Models()
    {
        foreach (string size in (string[])["openelm-270m", "openelm-450m", "openelm-1.1b", "openelm-3b"])
        {
            yield return ($"{size}-shapes", NamedConfigs.Get(size) with { NumTransformerLayers = 3, VocabSize = 509 }, Prompt);
        }

        OpenElmConfig small = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, VocabSize = 509 };
        yield return ("context-4096", small with { MaxContextLength = Long, RopeMaxLength = 2 * Long }, Long - Steps);
        yield return ("odd-shapes", small with { ModelDim = 200, HeadDim = 40, FfnDimDivisor = 24, VocabSize = 301, ShareInputOutputLayers = false }, Prompt);
    }

    static IEnumerable<GoldenCheck> Compare(OpenElmConfig config, int prompt, InferenceDevice fp32, InferenceDevice bf16)
    {
        Dictionary<string, ReadOnlyMemory<float>> weights = RandomModel.Create(config, seed: 3).Weights.ToDictionary(weight => weight.Name, weight =>
        {
            using var bytes = new MemoryStream();
            weight.Write(bytes);
            return (ReadOnlyMemory<float>)MemoryMarshal.Cast<byte, float>(bytes.GetBuffer().AsSpan(0, (int)bytes.Length)).ToArray();
        });
        var random = new Random(5);
        int[] tokens = [.. Enumerable.Range(0, prompt + Steps).Select(_ => random.Next(config.VocabSize))];
        float[] expected = Logits(null);
        foreach ((string name, InferenceDevice device, GoldenMeasure measure, double allowance) in ((string, InferenceDevice, GoldenMeasure, double)[])
            [("fp32", fp32, GoldenMeasure.Absolute, Fp32Allowance), ("bf16", bf16, GoldenMeasure.Relative, Bf16Allowance)])
        {
            float[] actual = Logits(device);
            int half = expected.Length - (Steps * config.VocabSize);
            yield return GoldenComparison.Compare($"{name}: prompt", expected.AsSpan(0, half), actual[..half], measure, allowance);
            yield return GoldenComparison.Compare($"{name}: token by token", expected.AsSpan(half), actual[half..], measure, allowance);
        }

        // Of the last tokens of the prompt, then of each token behind it.
        float[] Logits(InferenceDevice? device)
        {
            using var model = OpenElmModel.Create(config, weights, new InferenceOptions { Device = device });
            using SequenceState state = model.CreateState(tokens.Length);
            int rows = Math.Min(prompt, Prompt), vocab = config.VocabSize;
            float[] logits = new float[(rows + Steps) * vocab];
            model.Forward(tokens.AsSpan(0, prompt), state, rows, logits.AsSpan(0, rows * vocab));
            for (int i = 0; i < Steps; i++)
            {
                model.Decode(tokens[prompt + i], state, logits.AsSpan((rows + i) * vocab, vocab));
            }

            return logits;
        }
    }
}
