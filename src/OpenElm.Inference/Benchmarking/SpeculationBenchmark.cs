using System.Collections.Immutable;
using OpenElm.Inference.Generation;

namespace OpenElm.Inference.Benchmarking;

/// <summary>Speculative against plain greedy generation of the same tokens.</summary>
/// <param name="Text"><c>repetitive</c> or <c>free</c>.</param>
/// <param name="PlainTokensPerSecond">Every repetition's rate without proposals.</param>
/// <param name="TokensPerSecond">Every repetition's rate with them, in turn with the plain ones.</param>
/// <param name="Proposed">Tokens proposed in one repetition.</param>
/// <param name="Accepted">Of them, how many the model would have chosen itself.</param>
/// <param name="Tokens">Tokens of an output.</param>
/// <param name="SameTokens">Of them, those before the first that differs from plain generation's: on the processor all. A GPU computes one row and several in other orders, so a near tie may end otherwise.</param>
public sealed record SpeculationResult(string Text, ImmutableArray<double> PlainTokensPerSecond, ImmutableArray<double> TokensPerSecond, int Proposed, int Accepted, int Tokens, int SameTokens)
{
    /// <summary>The ratio of the medians.</summary>
    public double Gain => BenchmarkResult.MedianOf(TokensPerSecond) / BenchmarkResult.MedianOf(PlainTokensPerSecond);
}

/// <summary>What speculation gains on a text that repeats itself and on one that does not.</summary>
public static class SpeculationBenchmark
{
    const string Repetitive = "one red apple and two green pears, one red apple and two green pears, one red apple and two green pears, one red apple and";
    const string Free = "Once upon a time there was a small boat that wanted to see the other side of the sea. One morning";

    /// <summary>Generates from both texts, with and without proposals in turn.</summary>
    /// <param name="model">The model; without a tokenizer, random ids take the place of the texts.</param>
    /// <param name="draft">A smaller model that proposes; null proposes by prompt lookup.</param>
    /// <param name="promptLookup">The most tokens a lookup proposes.</param>
    /// <param name="options">How many tokens, and how often.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>A result for each text.</returns>
    /// <exception cref="OpenElmException">An option is impossible, or the models do not belong together.</exception>
    public static IEnumerable<SpeculationResult> Run(TextModel model, TextModel? draft, int promptLookup, BenchmarkOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        options.Validated(model.Model.MaxLength);
        var random = new Random(1);
        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Candidates))];
        int[] phrase = Ids(16);
        (string Name, int[] Prompt)[] texts =
        [
            ("repetitive", model.Tokenizer is null ? [.. Enumerable.Repeat(phrase, 4).SelectMany(ids => ids)] : model.EncodePrompt(Repetitive)),
            ("free", model.Tokenizer is null ? Ids(64) : model.EncodePrompt(Free)),
        ];
        return texts.Select(text => Measure(text.Name, text.Prompt));

        SpeculationResult Measure(string name, int[] prompt)
        {
            var plain = new double[options.Repetitions];
            var speculative = new double[options.Repetitions];
            GenerationRun run = Generate(prompt, speculate: true); // not measured
            int[] expected = Generate(prompt, speculate: false).Output.ToArray();
            for (int i = 0; i < options.Repetitions; i++)
            {
                plain[i] = Generate(prompt, speculate: false).Rates.GenerationTokensPerSecond;
                run = Generate(prompt, speculate: true);
                speculative[i] = run.Rates.GenerationTokensPerSecond;
            }

            int same = run.Output.Span.CommonPrefixLength(expected);
            return same == expected.Length || model.Model.Backend is not CpuBackend
                ? new SpeculationResult(name, [.. plain], [.. speculative], run.Speculation.Proposed, run.Speculation.Accepted, expected.Length, same)
                : throw new InvalidOperationException("Speculation changed a greedy output.");
        }

        GenerationRun Generate(int[] prompt, bool speculate)
        {
            using GenerationSession session = model.CreateSession(speculate ? draft : null);
            GenerationRun run = session.Start(prompt, new GenerationOptions
            {
                MaxTokens = options.GeneratedTokens,
                IgnoreEos = true,
                PromptLookup = speculate && draft is null ? promptLookup : 0,
            });
            foreach (int _ in run.Tokens(cancellation))
            {
                // timed by the run itself
            }

            return run;
        }
    }
}
