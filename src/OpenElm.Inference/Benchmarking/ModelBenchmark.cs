using System.Collections.Immutable;
using System.Diagnostics;

namespace OpenElm.Inference.Benchmarking;

/// <summary>What to measure. Defaults are llama-bench's tests <c>pp512</c> and <c>tg64</c>.</summary>
public sealed record BenchmarkOptions
{
    /// <summary>Tokens of the prompt test; 0 leaves it out.</summary>
    public int PromptTokens { get; init; } = 512;

    /// <summary>Tokens of the generation test; 0 leaves it out.</summary>
    public int GeneratedTokens { get; init; } = 64;

    /// <summary>Sequences that generate side by side.</summary>
    public int Sequences { get; init; } = 1;

    /// <summary>How often each test is repeated, after one pass that does not count.</summary>
    public int Repetitions { get; init; } = 5;

    /// <summary>Checks every option.</summary>
    /// <param name="maxLength">The model's longest sequence.</param>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public BenchmarkOptions Validated(int maxLength)
    {
        var problems = new List<string>();
        foreach ((string name, int value) in new[] { ("the prompt", PromptTokens), ("the generation", GeneratedTokens) })
        {
            if (value < 0 || value > maxLength)
            {
                problems.Add($"{name} has {value} tokens; it must be 0 to {maxLength}, the longest sequence");
            }
        }

        if (PromptTokens == 0 && GeneratedTokens == 0)
        {
            problems.Add("both tests have 0 tokens; nothing is left to measure");
        }

        if (Repetitions < 1)
        {
            problems.Add($"{Repetitions} repetitions; there must be 1 or more");
        }

        if (Sequences < 1)
        {
            problems.Add($"{Sequences} sequences; there must be 1 or more");
        }

        return problems is [] ? this : throw OpenElmException.Of("Invalid benchmark options", problems);
    }
}

/// <summary>One test.</summary>
/// <param name="Test">llama-bench's name: <c>pp512</c>, <c>tg64</c>, or <c>tg64x8</c> for several sequences.</param>
/// <param name="TokensPerSecond">Every repetition's rate.</param>
/// <param name="BytesPerSecond">Of weights and of nothing else, in the median repetition; null for prompts, which read weights once for many tokens.</param>
/// <param name="AllocatedBytesPerToken">On the garbage-collected heap, over all repetitions.</param>
public sealed record BenchmarkResult(string Test, ImmutableArray<double> TokensPerSecond, double? BytesPerSecond, double AllocatedBytesPerToken)
{
    /// <summary>The median rate.</summary>
    public double Median => MedianOf(TokensPerSecond);

    /// <summary>The middle of some values; of an even number, the mean of the two in the middle.</summary>
    /// <param name="values">At least one.</param>
    /// <returns>The median.</returns>
    public static double MedianOf(ImmutableArray<double> values)
    {
        ImmutableArray<double> sorted = values.Sort();
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}

/// <summary>Measures a loaded model as llama-bench does: a prompt of random tokens with the logits of the last, then tokens one by one from an empty sequence.</summary>
public static class ModelBenchmark
{
    /// <summary>Runs the tests.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">What to measure.</param>
    /// <param name="cancellation">Stops between two passes.</param>
    /// <returns>A result for each test.</returns>
    /// <exception cref="OpenElmException">An option is impossible.</exception>
    public static IEnumerable<BenchmarkResult> Run(OpenElmModel model, BenchmarkOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        options.Validated(model.MaxLength);
        return Tests();

        IEnumerable<BenchmarkResult> Tests()
        {
            if (options.PromptTokens > 0)
            {
                yield return Prompt(model, options, cancellation);
            }

            if (options.GeneratedTokens > 0)
            {
                yield return Generation(model, options, cancellation);
            }
        }
    }

    static BenchmarkResult Prompt(OpenElmModel model, BenchmarkOptions options, CancellationToken cancellation)
    {
        int[] tokens = RandomTokens(model, options.PromptTokens);
        float[] logits = new float[model.Config.VocabSize];
        using SequenceState state = model.CreateState(options.PromptTokens);
        return Measure($"pp{options.PromptTokens}", options.Repetitions, options.PromptTokens, null, () =>
        {
            state.Truncate(0);
            model.Prefill(tokens, state, logits);
        }, cancellation);
    }

    static BenchmarkResult Generation(OpenElmModel model, BenchmarkOptions options, CancellationToken cancellation)
    {
        int sequences = options.Sequences;
        int[] tokens = RandomTokens(model, options.GeneratedTokens * sequences);
        float[] logits = new float[checked(sequences * model.Config.VocabSize)];
        SequenceState[] states = [.. Enumerable.Range(0, sequences).Select(_ => model.CreateState(options.GeneratedTokens))];
        SequenceRun[] batch = [.. states.Select(state => new SequenceRun(state, 1, 1))];
        try
        {
            return Measure(sequences == 1 ? $"tg{options.GeneratedTokens}" : $"tg{options.GeneratedTokens}x{sequences}", options.Repetitions, options.GeneratedTokens * sequences, model.WeightBytes / (double)sequences, () =>
            {
                foreach (SequenceState state in states)
                {
                    state.Truncate(0);
                }

                for (int i = 0; i < options.GeneratedTokens; i++)
                {
                    model.Forward(batch, tokens.AsSpan(i * sequences, sequences), logits);
                }
            }, cancellation);
        }
        finally
        {
            Array.ForEach(states, state => state.Dispose());
        }
    }

    static BenchmarkResult Measure(string test, int repetitions, int tokens, double? bytesPerToken, Action pass, CancellationToken cancellation)
    {
        pass();
        var rates = new double[repetitions];
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < repetitions; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            pass();
            rates[i] = tokens / Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        var result = new BenchmarkResult(test, [.. rates], null, allocated / (double)(repetitions * tokens));
        return result with { BytesPerSecond = bytesPerToken * result.Median };
    }

    static int[] RandomTokens(OpenElmModel model, int count)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Config.VocabSize))];
    }
}
