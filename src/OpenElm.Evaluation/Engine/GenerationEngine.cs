using System.Collections.Immutable;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Generation.Beams;

namespace OpenElm.Evaluation.Engine;

/// <summary>What was written, and what it cost.</summary>
/// <param name="Texts">One for each request.</param>
/// <param name="Cached">Texts that were known.</param>
/// <param name="TokensWritten">Tokens of those that were not.</param>
public sealed record GenerationResult(ImmutableArray<string> Texts, int Cached, long TokensWritten);

/// <summary>Has a model write the answers to questions, one after the other; each is in the cache as soon as it is done.</summary>
public static class GenerationEngine
{
    /// <summary>Writes answers.</summary>
    /// <param name="requests">The questions.</param>
    /// <param name="model">The model.</param>
    /// <param name="options">Cache and progress.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>The answers in the order of the questions.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer, or cannot answer.</exception>
    public static GenerationResult Run(IReadOnlyList<GenerationRequest> requests, TextModel model, EngineOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        long begin = options.Time.GetTimestamp();
        int[]?[] answers = [.. requests.Select(request => options.Cache is { } cache && cache.TryGetText(request, out ImmutableArray<int> known) ? known.ToArray() : null)];
        options.Group?.Share(answers);
        int[] open = [.. Enumerable.Range(0, requests.Count).Where(i => answers[i] is null)];
        int[] own = options.Group is { } group ? [.. open.Where((_, i) => i % group.Size == group.Rank)] : open;
        for (int done = 0; done < own.Length; done++)
        {
            Report(done);
            GenerationRequest request = requests[own[done]];
            ImmutableArray<int> tokens = Write(request, model, cancellation);
            options.Cache?.AddText(request, tokens);
            answers[own[done]] = [.. tokens];
        }

        Report(own.Length);
        options.Group?.Share(answers);
        return new GenerationResult(
            [.. requests.Zip(answers, (request, tokens) => model.DecodeOutput(request.Prompt.AsSpan(), tokens))], requests.Count - open.Length, open.Sum(i => (long)answers[i]!.Length));

        void Report(int done) => options.Progress?.Report(new EngineProgress(done, own.Length, options.Time.GetElapsedTime(begin)) { Unit = "texts" });
    }

    static ImmutableArray<int> Write(GenerationRequest request, TextModel model, CancellationToken cancellation)
    {
        var options = new BeamOptions
        {
            Beams = request.Settings.Beams,
            Generation = new GenerationOptions { MaxTokens = request.Settings.MaxTokens, IgnoreEos = request.Settings.IgnoreEos },
        };
        return [.. BeamSearch.Run(model, request.Prompt.AsMemory(), options, cancellation)[0].Tokens.Span];
    }
}
