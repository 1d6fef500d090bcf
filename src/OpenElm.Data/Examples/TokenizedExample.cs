using System.Collections.Immutable;

namespace OpenElm.Data;

/// <summary>One example as the model sees it.</summary>
/// <param name="Ids">[n] token ids, n ≥ 2.</param>
/// <param name="InLoss">[n]: whether the loss looks at a token; the first is never a target.</param>
/// <param name="Origin">File and record, for messages.</param>
public sealed record TokenizedExample(ImmutableArray<int> Ids, ImmutableArray<bool> InLoss, string Origin)
{
    /// <summary>Positions that the model computes: each token but the last is an input.</summary>
    public int Positions => Ids.Length - 1;

    /// <summary>Targets that the loss looks at.</summary>
    public int Targets => InLoss.AsSpan()[1..].Count(true);
}
