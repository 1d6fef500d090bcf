namespace OpenElm.Inference;

/// <summary>What one sequence brings to a batch: some new tokens, and how many of their last logits are wanted.</summary>
/// <param name="State">The sequence; grows by the tokens. A state occurs once in a batch.</param>
/// <param name="Tokens">How many of the batch's tokens are its, 1 or more.</param>
/// <param name="LogitRows">How many of the last tokens' logits are wanted, 0 to <paramref name="Tokens"/>.</param>
public readonly record struct SequenceRun(SequenceState State, int Tokens, int LogitRows);
