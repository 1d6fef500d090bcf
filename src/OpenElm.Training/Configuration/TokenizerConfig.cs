namespace OpenElm.Training;

/// <summary>The tokenizer of a run: a SentencePiece model, or how to train one on the run's own text.</summary>
public sealed record TokenizerConfig : IValidated
{
    /// <summary>A SentencePiece <c>tokenizer.model</c>.</summary>
    public string? Path { get; init; }

    /// <summary>How to train one on the training text.</summary>
    public TokenizerTrainingConfig? Train { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems) =>
        problems.Require(Path is null != Train is null, path, "path", "and train are alternatives; give exactly one of them.");
}

/// <summary>Training of a tokenizer.</summary>
public sealed record TokenizerTrainingConfig : IValidated
{
    /// <summary>Pieces, the special and byte pieces included.</summary>
    public required int VocabSize { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems) =>
        problems.Require(VocabSize >= 300, path, "vocab_size", $"is {VocabSize}; it must be at least 300: 259 pieces are special or bytes.");
}
