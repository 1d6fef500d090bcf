using OpenElm.Checkpoints;
using OpenElm.Tokenization;

namespace OpenElm.Inference;

/// <summary>A model folder ready for text: the model, its tokenizer if it has one, and which ids count.</summary>
public sealed class TextModel : IDisposable
{
    TextModel(OpenElmModel model, SentencePieceTokenizer? tokenizer) =>
        (Model, Tokenizer, Candidates) = (model, tokenizer, CandidateCount(model, tokenizer));

    /// <summary>The model.</summary>
    public OpenElmModel Model { get; }

    /// <summary>Its tokenizer, or null: then only token ids can be used.</summary>
    public SentencePieceTokenizer? Tokenizer { get; }

    /// <summary>Ids below this can be generated and share the probability; rows above only pad the embedding.</summary>
    public int Candidates { get; }

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
        ReadOnlyMemory<byte>? own = checkpoint.Tokenizer;
        var model = OpenElmModel.Create(checkpoint, options);
        try
        {
            return new TextModel(model, tokenizer is not null ? SentencePieceTokenizer.Load(tokenizer) : own is { } bytes ? SentencePieceTokenizer.Parse(bytes.Span) : null);
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

    /// <summary>The tokenizer, where text cannot do without.</summary>
    /// <param name="what">What needs it, for the message.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="OpenElmException">There is none.</exception>
    public SentencePieceTokenizer RequireTokenizer(string what) =>
        Tokenizer ?? throw new OpenElmException($"{what} needs a tokenizer; put {ModelFolder.TokenizerFile} into the model folder or name one.");

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}
