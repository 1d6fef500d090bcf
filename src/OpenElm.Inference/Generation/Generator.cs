namespace OpenElm.Inference.Generation;

/// <summary>Generates from a model: synchronous, cancellable, token by token.</summary>
/// <param name="model">The model.</param>
/// <param name="time">The clock of the rates; null takes the system's.</param>
public sealed class Generator(TextModel model, TimeProvider? time = null)
{
    /// <summary>Prepares a text that continues a prompt. BOS is put in front.</summary>
    /// <param name="prompt">The prompt; may be empty.</param>
    /// <param name="options">What to generate.</param>
    /// <returns>The run; nothing is computed before it is enumerated.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer, the prompt is too long, or an option is impossible.</exception>
    public GenerationRun Start(string prompt, GenerationOptions options) =>
        Start(model.RequireTokenizer("A text prompt").Encode(prompt, new Tokenization.TokenizerOptions { AddBos = true }), options);

    /// <summary>Prepares a continuation of token ids.</summary>
    /// <param name="prompt">[seq], at least one id.</param>
    /// <param name="options">What to generate.</param>
    /// <returns>The run; nothing is computed before it is enumerated.</returns>
    /// <exception cref="OpenElmException">The prompt is empty or too long, or an option is impossible.</exception>
    public GenerationRun Start(ReadOnlyMemory<int> prompt, GenerationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validated();
        if (prompt.IsEmpty)
        {
            throw new OpenElmException("The prompt has no tokens; give at least one, for example BOS.");
        }

        if (prompt.Length > model.Model.MaxLength)
        {
            throw new OpenElmException($"The prompt has {prompt.Length} tokens; the limit is {model.Model.MaxLength} (rope_max_length). Shorten it, or raise the limit by option.");
        }

        if (!options.Stop.IsEmpty)
        {
            model.RequireTokenizer("A stop text");
        }

        return new GenerationRun(model, prompt.ToArray(), options, time ?? TimeProvider.System);
    }
}
