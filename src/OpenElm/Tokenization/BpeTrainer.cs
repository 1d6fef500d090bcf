namespace OpenElm.Tokenization;

/// <summary>Trains BPE tokenizers.</summary>
public sealed class BpeTrainer;
