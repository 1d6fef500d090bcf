using System.Collections.Immutable;

namespace OpenElm.Evaluation.Engine;

/// <summary>Tokens whose log-probability is asked, and what stands before them.</summary>
/// <param name="Context">[n], at least one token.</param>
/// <param name="Continuation">[m], at least one token.</param>
public readonly record struct TokenWindow(ImmutableArray<int> Context, ImmutableArray<int> Continuation)
{
    /// <summary>Tokens that go through the model where each window is run alone: the last one need not.</summary>
    public int TokensFed => Context.Length + Continuation.Length - 1;
}

/// <summary>A request as the model sees it.</summary>
/// <param name="Windows">One; of a whole text, as many as it needs. Their log-probabilities add up to the request's.</param>
public sealed record TokenizedRequest(ImmutableArray<TokenWindow> Windows)
{
    /// <summary>Whether the beginning of the context was cut off because the model takes fewer tokens.</summary>
    public bool IsTruncated { get; init; }
}
