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
        (int cached, long written, long begin) = (0, 0, options.Time.GetTimestamp());
        string[] texts = new string[requests.Count];
        var open = new List<int>();
        for (int i = 0; i < requests.Count; i++)
        {
            if (options.Cache is { } cache && cache.TryGetText(requests[i], out ImmutableArray<int> known))
            {
                (texts[i], cached) = (Text(requests[i], known), cached + 1);
            }
            else
            {
                open.Add(i);
            }
        }

        for (int done = 0; done < open.Count; done++)
        {
            Report(done);
            GenerationRequest request = requests[open[done]];
            ImmutableArray<int> tokens = Write(request, model, cancellation);
            options.Cache?.AddText(request, tokens);
            written += tokens.Length;
            texts[open[done]] = Text(request, tokens);
        }

        Report(open.Count);
        return new GenerationResult([.. texts], cached, written);

        void Report(int done) => options.Progress?.Report(new EngineProgress(done, open.Count, options.Time.GetElapsedTime(begin)) { Unit = "texts" });

        string Text(GenerationRequest request, ImmutableArray<int> tokens) => model.DecodeOutput(request.Prompt.AsSpan(), tokens.AsSpan());
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
