using System.Runtime.CompilerServices;
using OpenElm.Checkpoints;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation;
using OpenElm.Tokenization;

namespace OpenElm.Inference;

/// <summary>
/// A model ready for text: the model, its tokenizer if it has one, and which ids count. Any number of threads may generate
/// from it at once.
/// </summary>
public sealed class TextModel : IDisposable
{
    readonly ConditionalWeakTable<OutputConstraint, TokenMasks> _masks = [];
    readonly Lazy<ConstrainedVocabulary> _vocabulary;

    TextModel(OpenElmModel model, SentencePieceTokenizer? tokenizer)
    {
        (Model, Tokenizer, Candidates) = (model, tokenizer, CandidateCount(model, tokenizer));
        _vocabulary = new(() => new ConstrainedVocabulary(RequireTokenizer("A constraint"), Candidates, EosId));
    }

    /// <summary>The model.</summary>
    public OpenElmModel Model { get; }

    /// <summary>Its tokenizer, or null: then only token ids can be used.</summary>
    public SentencePieceTokenizer? Tokenizer { get; }

    /// <summary>Ids below this can be generated and share the probability; rows above only pad the embedding.</summary>
    public int Candidates { get; }

    /// <summary>The id that ends a sequence; −1 if the tokenizer has none.</summary>
    public int EosId => Tokenizer?.EosId ?? Model.Config.EosTokenId;

    /// <summary>Puts a model and a tokenizer together.</summary>
    /// <param name="model">The model; disposed with the result.</param>
    /// <param name="tokenizer">Its tokenizer, or null.</param>
    /// <returns>The model for text.</returns>
    /// <exception cref="OpenElmException">The tokenizer has more pieces than the model has rows.</exception>
    public static TextModel Of(OpenElmModel model, SentencePieceTokenizer? tokenizer) => new(model, tokenizer);

    /// <summary>Loads a model of any format that <see cref="Checkpoint.Open"/> reads, with its tokenizer.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <param name="tokenizer">A SentencePiece model; null takes the one that came with the weights, if there is one.</param>
    /// <returns>The model.</returns>
    /// <exception cref="OpenElmException">The model, the tokenizer or an option is wrong.</exception>
    public static TextModel Load(string path, InferenceOptions? options = null, string? tokenizer = null)
    {
        options = (options ?? new InferenceOptions()).Validated();
        var checkpoint = Checkpoint.Open(path);
        // Beside the packing of the weights, which waits for memory most of the time.
        Task<SentencePieceTokenizer?> reading = Task.Run(() =>
            tokenizer is not null ? SentencePieceTokenizer.Load(tokenizer)
            : checkpoint.Tokenizer is { } bytes ? SentencePieceTokenizer.Parse(bytes.Span)
            : null);
        var model = OpenElmModel.Create(checkpoint, options);
        try
        {
            return new TextModel(model, reading.GetAwaiter().GetResult());
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>How many rows of the vocabulary count: as many as the tokenizer has pieces, or all without a tokenizer.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer, or null.</param>
    /// <returns>The first id that does not count.</returns>
    /// <exception cref="OpenElmException">The tokenizer has more pieces than the model has rows.</exception>
    public static int CandidateCount(ICausalLM model, SentencePieceTokenizer? tokenizer)
    {
        ArgumentNullException.ThrowIfNull(model);
        int rows = model.Config.VocabSize;
        return tokenizer is null ? rows
            : tokenizer.PieceCount <= rows ? tokenizer.PieceCount
            : throw new OpenElmException($"The tokenizer has {tokenizer.PieceCount} pieces, the model only {rows} rows; they do not belong together.");
    }

    /// <summary>Continues token ids, lazily: each id is computed when it is asked for.</summary>
    /// <param name="prompt">[seq], at least one id.</param>
    /// <param name="options">What to generate; null takes the defaults.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Ids as they come; each enumeration generates anew.</returns>
    /// <exception cref="OpenElmException">The prompt is empty or too long, or an option is impossible; thrown at once.</exception>
    public IEnumerable<int> Generate(ReadOnlyMemory<int> prompt, GenerationOptions? options = null, CancellationToken cancellation = default)
    {
        options = (options ?? new GenerationOptions()).ValidatedFor(this);
        CheckPrompt(prompt.Span);
        return Stream();

        IEnumerable<int> Stream()
        {
            using GenerationSession session = CreateSession();
            foreach (int token in session.Start(prompt, options).Tokens(cancellation))
            {
                yield return token;
            }
        }
    }

    /// <summary>Continues a text, lazily: in parts that never break a character, each computed when it is asked for.</summary>
    /// <param name="prompt">The prompt; may be empty.</param>
    /// <param name="options">What to generate; null takes the defaults.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Parts as they come, without the prompt; each enumeration generates anew.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer, the prompt is too long, or an option is impossible; thrown at once.</exception>
    public IEnumerable<string> GenerateText(string prompt, GenerationOptions? options = null, CancellationToken cancellation = default)
    {
        options = (options ?? new GenerationOptions()).ValidatedFor(this);
        int[] ids = EncodePrompt(prompt);
        CheckPrompt(ids);
        return Stream();

        IEnumerable<string> Stream()
        {
            using GenerationSession session = CreateSession();
            foreach (string part in session.Start(ids, options).Text(cancellation))
            {
                yield return part;
            }
        }
    }

    /// <summary>Begins a session, for several outputs, for figures, or with a draft model.</summary>
    /// <param name="draft">A smaller model of the same vocabulary that guesses ahead; it must outlive the session.</param>
    /// <param name="time">The clock of the rates; null takes the system's.</param>
    /// <returns>The session.</returns>
    /// <exception cref="OpenElmException">The draft model has another vocabulary.</exception>
    public GenerationSession CreateSession(TextModel? draft = null, TimeProvider? time = null) => new(this, draft, time ?? TimeProvider.System);

    /// <summary>The tokenizer, where text cannot do without.</summary>
    /// <param name="what">What needs it, for the message.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="OpenElmException">There is none.</exception>
    public SentencePieceTokenizer RequireTokenizer(string what) =>
        Tokenizer ?? throw new OpenElmException($"{what} needs a tokenizer; put {ModelFolder.TokenizerFile} into the model folder or name one.");

    /// <summary>The ids of a prompt: BOS and the text.</summary>
    /// <param name="prompt">The text; may be empty.</param>
    /// <returns>The ids.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer.</exception>
    public int[] EncodePrompt(string prompt) => RequireTokenizer("A text prompt").Encode(prompt, new TokenizerOptions { AddBos = true });

    /// <summary>The text of an output; the blank that separates it from the prompt belongs to it.</summary>
    /// <param name="prompt">The prompt.</param>
    /// <param name="output">The output.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer.</exception>
    public string DecodeOutput(ReadOnlySpan<int> prompt, ReadOnlySpan<int> output)
    {
        StreamingDecoder decoder = DecodePrompt(prompt);
        var text = new System.Text.StringBuilder();
        foreach (int id in output)
        {
            text.Append(decoder.Append(id));
        }

        return text.Append(decoder.Flush()).ToString();
    }

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    /// <summary>A constraint over this vocabulary; what it has learned is kept as long as the constraint is.</summary>
    internal TokenMasks MasksOf(OutputConstraint constraint) => _masks.GetValue(constraint, added => new TokenMasks(added.Nfa, _vocabulary.Value));

    /// <summary>A decoder that has seen the prompt, so that the output keeps the blank that separates it from the prompt.</summary>
    internal StreamingDecoder DecodePrompt(ReadOnlySpan<int> prompt)
    {
        StreamingDecoder decoder = RequireTokenizer("Generating text").CreateDecoder();
        foreach (int id in prompt)
        {
            if (id < Candidates)
            {
                decoder.Append(id);
            }
        }

        return decoder;
    }

    internal void CheckPrompt(ReadOnlySpan<int> prompt)
    {
        if (prompt.IsEmpty)
        {
            throw new OpenElmException("The prompt has no tokens; give at least one, for example BOS.");
        }

        if (prompt.Length > Model.MaxLength)
        {
            throw new OpenElmException($"The prompt has {prompt.Length} tokens; the limit is {Model.MaxLength} (rope_max_length). Shorten it, or raise the limit by option.");
        }

        foreach (int token in prompt)
        {
            if ((uint)token >= (uint)Model.Config.VocabSize)
            {
                throw new OpenElmException($"The token id {token} is outside of the vocabulary of {Model.Config.VocabSize} rows.");
            }
        }
    }
}
