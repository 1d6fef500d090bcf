using System.Collections.Immutable;
using System.Diagnostics;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Benchmarking;

/// <summary>What to measure. Defaults are the paper's protocol (section 5.2).</summary>
public sealed record NormBenchmarkOptions
{
    /// <summary>The model whose norms are compared.</summary>
    public required OpenElmConfig Config { get; init; }

    /// <summary><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Tokens of the prompt.</summary>
    public int PromptTokens { get; init; } = 36;

    /// <summary>Tokens that are generated.</summary>
    public int GeneratedTokens { get; init; } = 1024;

    /// <summary>Measured rounds, after two that warm up; the models take turns in each.</summary>
    public int Rounds { get; init; } = 5;

    /// <summary>Whether kernels are counted and timed (CUPTI, GPU only).</summary>
    public bool CountKernels { get; init; } = true;
}

/// <summary>One generation.</summary>
/// <param name="PromptSeconds">Until the first new token.</param>
/// <param name="RestSeconds">From there to the last.</param>
public readonly record struct GenerationTime(double PromptSeconds, double RestSeconds);

/// <summary>Something that generates, and the norms it has.</summary>
/// <param name="Model">The model.</param>
/// <param name="Runtime">What computes it.</param>
/// <param name="Norm">Its normalisation.</param>
/// <param name="NormLayers">How many of them.</param>
/// <param name="Generate">Runs a prompt and so many new tokens, greedily.</param>
public sealed record NormSubject(string Model, string Runtime, string Norm, int NormLayers, Func<int[], int, GenerationTime> Generate);

/// <summary>A row of the paper's Table 8; speeds are medians over the rounds.</summary>
/// <param name="Model">The model.</param>
/// <param name="Runtime">What computed it.</param>
/// <param name="Norm">Its normalisation.</param>
/// <param name="NormLayers">How many of them.</param>
/// <param name="PromptTokensPerSecond">Prompt tokens ÷ time to the first token.</param>
/// <param name="GenerationTokensPerSecond">Generated tokens ÷ the time after the first.</param>
/// <param name="TotalTokensPerSecond">All tokens ÷ all time.</param>
/// <param name="KernelsPerToken">Kernels launched for a generated token; null where they were not counted.</param>
/// <param name="BusyMicroseconds">Time of a generated token in which some kernel ran; null likewise.</param>
public sealed record NormResult(
    string Model, string Runtime, string Norm, int NormLayers, double PromptTokensPerSecond, double GenerationTokensPerSecond, double TotalTokensPerSecond,
    double? KernelsPerToken, double? BusyMicroseconds)
{
    /// <summary>Microseconds of a generated token.</summary>
    public double TokenMicroseconds => 1e6 / GenerationTokensPerSecond;
}

/// <summary>
/// The paper's Table 8: one model with LayerNorm, naive and fused RMSNorm in all its places, generating by libtorch's operators one after another,
/// and a model shaped like OLMo-1.18B with 33 norms; with other runtimes beside, in turn.
/// </summary>
public static class NormBenchmark
{
    const int CountedTokens = 32;

    /// <summary>OLMo-1.18B in this project's terms: 16 equal layers, multi-head attention, no QK-norm, 33 norms.</summary>
    public static OpenElmConfig OlmoShaped { get; } = new()
    {
        VocabSize = 50304,
        NumTransformerLayers = 16,
        ModelDim = 2048,
        HeadDim = 128,
        FfnMultipliers = 4.0,
        ShareInputOutputLayers = true,
    };

    /// <summary>Norms of a model: two a layer, two more with QK-norm, and the last.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>Their number.</returns>
    public static int CountNorms(OpenElmConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return (config.NumTransformerLayers * (config.NormalizeQkProjections ? 4 : 2)) + 1;
    }

    /// <summary>Measures libtorch's rows and the ones given.</summary>
    /// <param name="options">What to measure.</param>
    /// <param name="others">Other runtimes, which take part in the same rounds.</param>
    /// <param name="cancel">Ends it between two generations.</param>
    /// <returns>A row for each, in the table's order.</returns>
    public static ImmutableArray<NormResult> Run(NormBenchmarkOptions options, IReadOnlyList<NormSubject> others, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(others);
        if (options.PromptTokens < 1 || options.GeneratedTokens < 2 || options.Rounds < 1)
        {
            throw new OpenElmException("The benchmark needs a prompt of 1 token or more, 2 generated tokens or more, and 1 round or more.");
        }

        TorchLibrary.EnsureLoaded();
        using OpenElmModule olmo = Random(OlmoShaped, options.Device), model = Random(options.Config, options.Device);
        string name = $"{ParameterCount.Of(options.Config).Total / 1e9:0.00} B";
        int length = options.PromptTokens + options.GeneratedTokens;
        var decoders = new List<EagerDecoder>();
        try
        {
            NormSubject[] subjects =
            [
                Eager("OLMo-shaped 1.18 B", olmo, NormKind.LayerNorm), Eager("OLMo-shaped 1.18 B", olmo, NormKind.NaiveRmsNorm),
                Eager($"OpenELM {name}", model, NormKind.LayerNorm), Eager($"OpenELM {name}", model, NormKind.NaiveRmsNorm), Eager($"OpenELM {name}", model, NormKind.FusedRmsNorm),
                .. others,
            ];
            return Measure(subjects, options, cancel);
        }
        finally
        {
            decoders.ForEach(decoder => decoder.Dispose());
        }

        NormSubject Eager(string model, OpenElmModule module, NormKind kind)
        {
            var decoder = new EagerDecoder(module, new NormKernels(kind), length);
            decoders.Add(decoder);
            return new NormSubject(model, "libtorch, eager", Words(kind), CountNorms(module.Config), (prompt, count) => Generate(decoder, module.Options.Device, prompt, count));
        }
    }

    static ImmutableArray<NormResult> Measure(NormSubject[] subjects, NormBenchmarkOptions options, CancellationToken cancel)
    {
        var random = new Random(1);
        int[] prompt = [.. Enumerable.Range(0, options.PromptTokens).Select(_ => random.Next(3, options.Config.VocabSize))];
        var times = subjects.Select(_ => new List<GenerationTime>()).ToArray();
        for (int round = -2; round < options.Rounds; round++) // a GPU searches algorithms in the second run of a shape
        {
            for (int i = 0; i < subjects.Length; i++)
            {
                cancel.ThrowIfCancellationRequested();
                GenerationTime seconds = subjects[i].Generate(prompt, round < 0 ? Math.Min(CountedTokens, options.GeneratedTokens) : options.GeneratedTokens);
                if (round >= 0)
                {
                    times[i].Add(seconds);
                }
            }
        }

        return [.. subjects.Select((subject, i) => Row(subject, times[i], options, prompt))];
    }

    static NormResult Row(NormSubject subject, List<GenerationTime> times, NormBenchmarkOptions options, int[] prompt)
    {
        double Median(Func<GenerationTime, double> of) => times.Select(of).Order().ElementAt(times.Count / 2);
        double first = Median(time => time.PromptSeconds), rest = Median(time => time.RestSeconds), all = Median(time => time.PromptSeconds + time.RestSeconds);
        (double Kernels, double Microseconds)? counted = options.CountKernels && options.Device != "cpu" ? Count(subject, prompt) : null;
        return new NormResult(
            subject.Model, subject.Runtime, subject.Norm, subject.NormLayers, options.PromptTokens / first, (options.GeneratedTokens - 1) / rest,
            (options.PromptTokens + options.GeneratedTokens) / all, counted?.Kernels, counted?.Microseconds);
    }

    // A short and a longer generation are traced; their difference is that of the tokens alone, without the prompt.
    static (double Kernels, double Microseconds)? Count(NormSubject subject, int[] prompt)
    {
        IReadOnlyList<TracedKernel> few, more;
        try
        {
            (few, more) = (Trace(subject, prompt, 2), Trace(subject, prompt, 2 + CountedTokens));
        }
        catch (CudaException)
        {
            return null; // no CUPTI: the columns stay empty
        }

        long busy = KernelTrace.BusyNanoseconds(more) - KernelTrace.BusyNanoseconds(few);
        return ((more.Count - few.Count) / (double)CountedTokens, busy / 1000.0 / CountedTokens);
    }

    static IReadOnlyList<TracedKernel> Trace(NormSubject subject, int[] prompt, int tokens)
    {
        CudaDevice.Synchronize(0);
        KernelTrace.Start();
        subject.Generate(prompt, tokens);
        CudaDevice.Synchronize(0);
        return KernelTrace.Stop();
    }

    static GenerationTime Generate(EagerDecoder decoder, string device, int[] prompt, int tokens)
    {
        using Tensor ids = tensor(prompt, [1, prompt.Length], ScalarType.Int64, TorchLibrary.Device(device));
        long start = Stopwatch.GetTimestamp();
        Tensor next = Chosen(ids, 0);
        _ = next.item<long>(); // waits for it
        double first = Stopwatch.GetElapsedTime(start).TotalSeconds;
        for (int i = 1; i < tokens; i++)
        {
            using Tensor last = next;
            next = Chosen(last, prompt.Length + i - 1);
        }

        _ = next.item<long>();
        next.Dispose();
        return new GenerationTime(first, Stopwatch.GetElapsedTime(start).TotalSeconds - first);

        Tensor Chosen(Tensor given, int position)
        {
            using Tensor logits = decoder.Step(given, position);
            return logits.argmax(-1, keepdim: true); // [1, 1]
        }
    }

    static OpenElmModule Random(OpenElmConfig config, string device)
    {
        var module = new OpenElmModule(config, new ModuleOptions { Precision = Precision.Bf16, Device = device });
        module.Initialize(seed: 0);
        return module;
    }

    static string Words(NormKind kind) => kind switch
    {
        NormKind.LayerNorm => "LayerNorm",
        NormKind.NaiveRmsNorm => "naive RMSNorm",
        NormKind.FusedRmsNorm => "fused RMSNorm",
        _ => throw new UnreachableException(),
    };
}
