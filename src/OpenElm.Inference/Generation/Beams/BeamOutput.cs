namespace OpenElm.Inference.Generation.Beams;

/// <summary>One result of a beam search.</summary>
/// <param name="Tokens">The output, without the prompt and without the token that ended it.</param>
/// <param name="Score">Sum of log-probabilities ÷ (tokens ^ length penalty); the token that ended it counts.</param>
/// <param name="FinishReason">Why it ended.</param>
public sealed record BeamOutput(ReadOnlyMemory<int> Tokens, double Score, FinishReason FinishReason);
