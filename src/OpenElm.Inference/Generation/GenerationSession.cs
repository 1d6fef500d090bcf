using OpenElm.Inference.Generation.Speculation;

namespace OpenElm.Inference.Generation;

/// <summary>
/// Generates outputs one after another and keeps the state of the last: a prompt that begins like the sequence before it, as
/// each turn of a conversation does, is only fed from where it differs. One output at a time, on one thread at a time;
/// different sessions of one model may run on different threads. Made by <see cref="TextModel.CreateSession"/>.
/// </summary>
public sealed class GenerationSession : IDisposable
{
    internal GenerationSession(TextModel model, TextModel? draft, TimeProvider time)
    {
        (Model, Time) = (model, time);
        Fed = new FedTokens(model.Model);
        Draft = draft is null ? null : new DraftModel(model, draft);
    }

    internal TextModel Model { get; }

    internal TimeProvider Time { get; }

    internal FedTokens Fed { get; }

    internal DraftModel? Draft { get; }

    internal GenerationRun? Running { get; set; }

    /// <summary>Prepares a text that continues a prompt. BOS is put in front.</summary>
    /// <param name="prompt">The prompt; may be empty.</param>
    /// <param name="options">What to generate; null takes the defaults.</param>
    /// <returns>The run; nothing is computed before it is enumerated.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer, the prompt is too long, or an option is impossible.</exception>
    public GenerationRun Start(string prompt, GenerationOptions? options = null) => Start(Model.EncodePrompt(prompt), options);

    /// <summary>Prepares a continuation of token ids.</summary>
    /// <param name="prompt">[seq], at least one id.</param>
    /// <param name="options">What to generate; null takes the defaults.</param>
    /// <returns>The run; nothing is computed before it is enumerated.</returns>
    /// <exception cref="OpenElmException">The prompt is empty or too long, or an option is impossible.</exception>
    public GenerationRun Start(ReadOnlyMemory<int> prompt, GenerationOptions? options = null)
    {
        options = (options ?? new GenerationOptions()).ValidatedFor(Model);
        Model.CheckPrompt(prompt.Span);
        if (Draft is not null && options.PromptLookup > 0)
        {
            throw new OpenElmException("Proposals come from a draft model or from prompt lookup, not from both; leave one out.");
        }

        return new GenerationRun(this, prompt.Span, options);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Fed.Dispose();
        Draft?.Dispose();
    }
}
