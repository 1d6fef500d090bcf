using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Verification.Gpu;

/// <summary>
/// Inference on a device against the processor's, teacher-forced, on random models: the widths of the four sizes (their narrowest, a middle and their
/// widest layer), odd ones, a context of 4,096, and matrices of blocks. Allowances are in docs/numerics.md.
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
        // While the device computes, the processor draws the next model and computes what is expected of it, and its kernels compile.
        (string Name, OpenElmConfig Config, int Prompt, DType? Blocks)[] models = [.. Models()];
        Task<RandomRun> Begin(int i) => Task.Run(() => new RandomRun(models[i].Config, models[i].Prompt, models[i].Blocks, fp32, bf16));
        Task<RandomRun> next = Begin(0);
        for (int i = 0; i < models.Length; i++)
        {
            using RandomRun run = next.GetAwaiter().GetResult();
            next = i + 1 < models.Length ? Begin(i + 1) : next;
            yield return GoldenResult.Of(models[i].Name, "random", run.Compare());
        }
    }

    /// <summary>Compares one model with itself on the processor, teacher-forced over its whole context: as one prompt, and token by token.</summary>
    /// <param name="path">The model: a folder, or a file.</param>
    /// <param name="fp32">The device in single precision.</param>
    /// <param name="bf16">The device in bfloat16.</param>
    /// <returns>Its result.</returns>
    /// <exception cref="OpenElmException">There is no such model, or it is damaged.</exception>
    public static GoldenResult Run(string path, InferenceDevice fp32, InferenceDevice bf16)
    {
        int[] tokens;
        float[] expected;
        using (OpenElmModel reference = OpenElmModel.Load(path))
        {
            var random = new Random(7);
            tokens = [.. Enumerable.Range(0, reference.Config.MaxContextLength).Select(_ => random.Next(reference.Config.VocabSize))];
            expected = Logits(reference, tokens, tokens.Length);
        }

        var checks = new List<GoldenCheck>();
        foreach ((string name, InferenceDevice device, GoldenMeasure measure, double allowance) in Precisions(fp32, bf16))
        {
            using OpenElmModel model = OpenElmModel.Load(path, new InferenceOptions { Device = device });
            checks.Add(GoldenComparison.Compare($"{name}: prompt", expected, Logits(model, tokens, tokens.Length), measure, allowance));
            checks.Add(GoldenComparison.Compare($"{name}: token by token", expected, Logits(model, tokens, 0), measure, allowance));
        }

        return GoldenResult.Of(Path.GetFileName(Path.TrimEndingDirectorySeparator(path)), "model", checks);
    }

    static (string Name, InferenceDevice Device, GoldenMeasure Measure, double Allowance)[] Precisions(InferenceDevice fp32, InferenceDevice bf16) =>
        [("fp32", fp32, GoldenMeasure.Absolute, Fp32Allowance), ("bf16", bf16, GoldenMeasure.Relative, Bf16Allowance)];

    // Of the last tokens of a prompt, mostRows at most, then of each token behind it.
    static float[] Logits(OpenElmModel model, int[] tokens, int prompt, int mostRows = int.MaxValue)
    {
        using SequenceState state = model.CreateState(tokens.Length);
        int rows = Math.Min(prompt, mostRows), vocab = model.Config.VocabSize;
        float[] logits = new float[(rows + tokens.Length - prompt) * vocab];
        if (prompt > 0)
        {
            model.Forward(tokens.AsSpan(0, prompt), state, rows, logits.AsSpan(0, rows * vocab));
        }

        for (int i = prompt; i < tokens.Length; i++)
        {
            model.Decode(tokens[i], state, logits.AsSpan((rows + i - prompt) * vocab, vocab));
        }

        return logits;
    }

    static IEnumerable<(string Name, OpenElmConfig Config, int Prompt, DType? Blocks)> Models()
    {
        foreach (string size in (string[])["openelm-270m", "openelm-450m", "openelm-1.1b", "openelm-3b"])
        {
            yield return ($"{size}-shapes", NamedConfigs.Get(size) with { NumTransformerLayers = 3, VocabSize = 509 }, Prompt, null);
        }

        foreach (DType blocks in (DType[])[DType.Q8_0, DType.Q4_0])
        {
            yield return ($"openelm-1.1b-shapes-{blocks}".ToLowerInvariant(), NamedConfigs.Get("openelm-1.1b") with { NumTransformerLayers = 3, VocabSize = 509 }, Prompt, blocks);
        }

        OpenElmConfig small = NamedConfigs.Get("openelm-270m") with { NumTransformerLayers = 2, VocabSize = 509 };
        yield return ("context-4096", small with { MaxContextLength = Long, RopeMaxLength = 2 * Long }, Long - Steps, null);
        yield return ("odd-shapes", small with { ModelDim = 200, HeadDim = 40, FfnDimDivisor = 24, VocabSize = 301, ShareInputOutputLayers = false }, Prompt, null);
    }

    // A model with random weights on both devices, or of blocks on that of bfloat16, and what the processor makes of it.
    sealed class RandomRun : IDisposable
    {
        readonly OpenElmConfig _config;
        readonly int _prompt;
        readonly int[] _tokens;
        readonly float[] _expected;
        readonly (string Name, OpenElmModel Model, GoldenMeasure Measure, double Allowance)[] _tested;

        public RandomRun(OpenElmConfig config, int prompt, DType? blocks, InferenceDevice fp32, InferenceDevice bf16)
        {
            (_config, _prompt) = (config, prompt);
            var random = new Random(5);
            _tokens = [.. Enumerable.Range(0, prompt + Steps).Select(_ => random.Next(config.VocabSize))];
            Dictionary<string, ReadOnlyMemory<float>> weights = blocks is not null ? []
                : RandomModel.Create(config, seed: 3).Weights.AsParallel().Select(weight => (weight.Name, Values: Floats(weight))).ToDictionary(weight => weight.Name, weight => weight.Values);
            OpenElmModel Open(InferenceDevice? device)
            {
                var options = new InferenceOptions { Device = device };
                return blocks is { } type ? OpenElmModel.CreateRandom(config, options, type) : OpenElmModel.Create(config, weights, options);
            }

            // Matrices of blocks are not for single precision.
            (string Name, Task<OpenElmModel> Model, GoldenMeasure Measure, double Allowance)[] opened =
                [.. Precisions(fp32, bf16).Where(tested => blocks is null || tested.Device == bf16).Select(tested => (tested.Name, Task.Run(() => Open(tested.Device)), tested.Measure, tested.Allowance))];
            using (OpenElmModel reference = Open(null))
            {
                _expected = Logits(reference, _tokens, _prompt, Prompt);
            }

            _tested = [.. opened.Select(tested => (tested.Name, tested.Model.GetAwaiter().GetResult(), tested.Measure, tested.Allowance))];
        }

        public IEnumerable<GoldenCheck> Compare()
        {
            foreach ((string name, OpenElmModel model, GoldenMeasure measure, double allowance) in _tested)
            {
                float[] actual = Logits(model, _tokens, _prompt, Prompt);
                int half = _expected.Length - (Steps * _config.VocabSize);
                yield return GoldenComparison.Compare($"{name}: prompt", _expected.AsSpan(0, half), actual[..half], measure, allowance);
                yield return GoldenComparison.Compare($"{name}: token by token", _expected.AsSpan(half), actual[half..], measure, allowance);
            }
        }

        public void Dispose() => Array.ForEach(_tested, tested => tested.Model.Dispose());

        static ReadOnlyMemory<float> Floats(TensorSource weight)
        {
            using var bytes = new MemoryStream();
            weight.Write(bytes);
            return MemoryMarshal.Cast<byte, float>(bytes.GetBuffer().AsSpan(0, (int)bytes.Length)).ToArray();
        }
    }
}
