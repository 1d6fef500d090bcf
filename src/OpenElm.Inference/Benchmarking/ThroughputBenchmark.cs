using System.Collections.Immutable;
using System.Numerics.Tensors;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Generation;

namespace OpenElm.Inference.Benchmarking;

/// <summary>What to measure. Defaults are the paper's protocol (section 5.2): a prompt of 36 tokens, 1024 new ones, greedy.</summary>
public sealed record ThroughputOptions
{
    /// <summary>Tokens of the prompt.</summary>
    public int PromptTokens { get; init; } = 36;

    /// <summary>Tokens that are generated.</summary>
    public int GeneratedTokens { get; init; } = 1024;

    /// <summary>Measured runs, after two that warm up.</summary>
    public int Repetitions { get; init; } = 3;

    /// <summary>Whether a prompt's kernels are traced, too, after all measurements.</summary>
    public bool Profiles { get; init; }

    /// <summary>The type of matrices: BF16 or a block format.</summary>
    public DType Weights { get; init; } = DType.BF16;

    /// <summary>Sequences side by side.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>Checks every option.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public ThroughputOptions Validated()
    {
        var problems = new List<string>();
        foreach ((string name, int value, int least) in new[] { ("tokens of the prompt", PromptTokens, 1), ("generated tokens", GeneratedTokens, 2), ("repetitions", Repetitions, 1), ("sequences", Batch, 1) })
        {
            if (value < least)
            {
                problems.Add($"{value} {name}; there must be {least} or more");
            }
        }

        return problems is [] ? this : throw OpenElmException.Of("Invalid benchmark options", problems);
    }
}

/// <summary>A row of the paper's Table 7; speeds are medians over the repetitions.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Parameters">All weights.</param>
/// <param name="PromptTokensPerSecond">Prompt tokens ÷ time to the first token.</param>
/// <param name="GenerationTokensPerSecond">Generated tokens ÷ the time after the first.</param>
/// <param name="TotalTokensPerSecond">All tokens ÷ all time.</param>
/// <param name="WeightBytes">That a token reads.</param>
/// <param name="ReadBytesPerSecond">Of the weights, plainly read.</param>
/// <param name="Kernels">What computed it.</param>
/// <param name="Generations">Generation in every repetition, tokens a second.</param>
/// <param name="Step">Where the time of a token in the middle of the output goes; empty on the processor.</param>
/// <param name="Prompt">Where the time of a prompt goes; empty on the processor, and where it is not asked for.</param>
public sealed record ThroughputResult(
    string Model, long Parameters, double PromptTokensPerSecond, double GenerationTokensPerSecond, double TotalTokensPerSecond,
    long WeightBytes, double ReadBytesPerSecond, string Kernels, ImmutableArray<double> Generations, ImmutableArray<StepPhase> Step, ImmutableArray<StepPhase> Prompt)
{
    /// <summary>Generation as a share of reading the weights once a token and doing nothing else.</summary>
    public double ShareOfReadBandwidth => GenerationTokensPerSecond * WeightBytes / ReadBytesPerSecond;
}

/// <summary>The paper's measurement of throughput, with random weights, whose speed is that of any.</summary>
public static class ThroughputBenchmark
{
    /// <summary>Measures one architecture.</summary>
    /// <param name="name">Its name in the result.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="inference">How it is opened.</param>
    /// <param name="options">What to measure.</param>
    /// <param name="time">The clock; null takes the system's.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>The speeds.</returns>
    /// <exception cref="OpenElmException">An option is impossible.</exception>
    public static ThroughputResult Run(
        string name, OpenElmConfig config, InferenceOptions inference, ThroughputOptions options, TimeProvider? time = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validated();
        using var model = TextModel.Of(OpenElmModel.CreateRandom(config, inference, options.Weights), null);
        var random = new Random(1);
        int[] prompt = [.. Enumerable.Range(0, options.PromptTokens * options.Batch).Select(_ => random.Next(config.VocabSize))];
        var rates = new GenerationRates[options.Repetitions];
        for (int i = -2; i < rates.Length; i++) // a GPU searches algorithms in the second run of a shape
        {
            int generated = i < 0 ? Math.Min(16, options.GeneratedTokens) : options.GeneratedTokens;
            GenerationRates measured = options.Batch == 1
                ? RunOne(model, prompt, generated, time, cancellation)
                : RunBatch(model.Model, prompt, options, generated, time ?? TimeProvider.System, cancellation);
            if (i >= 0)
            {
                rates[i] = measured;
            }
        }

        double Median(Func<GenerationRates, double> of) => BenchmarkResult.MedianOf([.. rates.Select(of)]);
        return new ThroughputResult(
            name, TensorShapes.Of(config).Sum(shape => shape.Elements), Median(rate => rate.PromptTokensPerSecond), Median(rate => rate.GenerationTokensPerSecond),
            Median(rate => rate.TotalTokensPerSecond), model.Model.WeightBytes, model.Model.MeasureReadBandwidth(), model.Model.KernelName,
            [.. rates.Select(rate => rate.GenerationTokensPerSecond)], Profile(model.Model, options), options.Profiles ? ProfilePrompt(model.Model, prompt.AsSpan(0, options.PromptTokens)) : []);
    }

    static GenerationRates RunOne(TextModel model, int[] prompt, int generated, TimeProvider? time, CancellationToken cancellation)
    {
        using GenerationSession session = model.CreateSession(time: time);
        GenerationRun run = session.Start(prompt, new GenerationOptions { MaxTokens = generated, IgnoreEos = true });
        foreach (int token in run.Tokens(cancellation))
        {
        }

        return run.Rates;
    }

    // Sequences side by side: their prompts together, then a token of each in every step.
    static GenerationRates RunBatch(OpenElmModel model, int[] prompts, ThroughputOptions options, int generated, TimeProvider time, CancellationToken cancellation)
    {
        int vocab = model.Config.VocabSize;
        SequenceState[] states = [.. Enumerable.Range(0, options.Batch).Select(_ => model.CreateState(options.PromptTokens + options.GeneratedTokens))];
        try
        {
            float[] logits = new float[options.Batch * vocab];
            int[] tokens = new int[options.Batch];
            long start = time.GetTimestamp();
            model.Forward([.. states.Select(state => new SequenceRun(state, options.PromptTokens, 1))], prompts, logits);
            Choose();
            TimeSpan toFirst = time.GetElapsedTime(start);
            using BatchChain? chain = model.BeginGreedy(tokens, states, vocab);
            for (int i = 1; i < generated; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (chain is not null)
                {
                    chain.Next(tokens);
                    continue;
                }

                model.Forward([.. states.Select(state => new SequenceRun(state, 1, 1))], tokens, logits);
                Choose();
            }

            return new GenerationRates(options.PromptTokens * options.Batch, generated * options.Batch, toFirst, time.GetElapsedTime(start));

            void Choose()
            {
                for (int i = 0; i < tokens.Length; i++)
                {
                    tokens[i] = TensorPrimitives.IndexOfMax<float>(logits.AsSpan(i * vocab, vocab));
                }
            }
        }
        finally
        {
            Array.ForEach(states, state => state.Dispose());
        }
    }

    static ImmutableArray<StepPhase> ProfilePrompt(OpenElmModel model, ReadOnlySpan<int> prompt)
    {
        using SequenceState state = model.CreateState(prompt.Length);
        return [.. model.Backend.ProfilePass([new SequenceRun(state, prompt.Length, 1)], prompt)];
    }

    static ImmutableArray<StepPhase> ProfileBatch(OpenElmModel model, int position, int sequences)
    {
        SequenceState[] states = [.. Enumerable.Range(0, sequences).Select(_ => model.CreateState(position + 1))];
        Array.ForEach(states, state => state.Advance(position)); // nobody reads the logits
        try
        {
            return [.. model.Backend.ProfilePass([.. states.Select(state => new SequenceRun(state, 1, 1))], new int[sequences])];
        }
        finally
        {
            Array.ForEach(states, state => state.Dispose());
        }
    }

    // The second of two: the first warms up.
    static ImmutableArray<StepPhase> Profile(OpenElmModel model, ThroughputOptions options)
    {
        int position = options.PromptTokens + (options.GeneratedTokens / 2);
        if (options.Batch > 1)
        {
            return options.Profiles ? ProfileBatch(model, position, options.Batch) : [];
        }

        using SequenceState state = model.CreateState(position + 1);
        _ = model.Backend.ProfileStep(state.Cache, position);
        return [.. model.Backend.ProfileStep(state.Cache, position)];
    }
}
