using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Scoring;

/// <summary>A context and what may follow it. The context is run once for all continuations.</summary>
/// <param name="Context">[n], at least one token.</param>
/// <param name="Continuations">One or more, each of at least one token; context and continuation together are at most one token longer than the model takes.</param>
public sealed record ContinuationGroup(ImmutableArray<int> Context, ImmutableArray<ImmutableArray<int>> Continuations);

/// <summary>How likely a model finds a continuation.</summary>
/// <param name="LogProbability">The logarithm of its probability, summed over its tokens in double precision.</param>
/// <param name="IsGreedy">Whether each of its tokens is the likeliest at its place.</param>
public readonly record struct ContinuationScore(double LogProbability, bool IsGreedy);

/// <summary>
/// What evaluation needs of a model: log-probabilities of continuations, many at a time. Every runtime implements it in the way that suits its machine.
/// Scores do not depend on the order or the company of the groups: bit by bit on the CPU runtime, within 1e-5 elsewhere.
/// </summary>
public interface IContinuationScorer : IDisposable
{
    /// <summary>The architecture.</summary>
    OpenElmConfig Config { get; }

    /// <summary>Tokens that a sequence may have; a continuation's last token need not be fed, so it may be one longer.</summary>
    int MaxLength { get; }

    /// <summary>Tokens that went through the model so far, padding among them.</summary>
    long TokensComputed { get; }

    /// <summary>Scores groups. Neighbours that begin alike should follow each other: what they share need not be computed twice.</summary>
    /// <param name="groups">The groups.</param>
    /// <param name="scored">Called for each group as soon as it is done, in any order: its index, and one score for each continuation.</param>
    /// <param name="cancellation">Stops between two passes.</param>
    /// <exception cref="OpenElmException">A group is too long or has an id outside the vocabulary, or the model gives numbers that are none.</exception>
    void Score(IReadOnlyList<ContinuationGroup> groups, Action<int, ImmutableArray<ContinuationScore>> scored, CancellationToken cancellation = default);
}
