using System.Collections.Immutable;
using OpenElm.Distributed;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>How far an evaluation is.</summary>
/// <param name="Done">Distinct tokens, or texts to be written, behind us.</param>
/// <param name="Total">How many in all.</param>
/// <param name="Elapsed">Time since the first was begun.</param>
public readonly record struct EngineProgress(long Done, long Total, TimeSpan Elapsed)
{
    /// <summary>What is counted: tokens or texts.</summary>
    public string Unit { get; init; } = "tokens";

    /// <summary>Time left at this pace; null before the first is done.</summary>
    public TimeSpan? Left => Done > 0 ? Elapsed * ((double)(Total - Done) / Done) : null;
}

/// <summary>How an evaluation runs; scores do not depend on it.</summary>
public sealed record EngineOptions
{
    /// <summary>Answers of earlier evaluations; null keeps none.</summary>
    public AnswerCache? Cache { get; init; }

    /// <summary>Told after every group of requests.</summary>
    public IProgress<EngineProgress>? Progress { get; init; }

    /// <summary>Contexts that the scorer is given at a time; null gives it all, and it packs them as suits the machine.</summary>
    public int? BatchSize { get; init; }

    /// <summary>The ranks that share the work, each of which gets all answers; null for a process that is alone.</summary>
    public IProcessGroup? Group { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}

/// <summary>What an evaluation cost.</summary>
/// <param name="Requests">Requests asked.</param>
/// <param name="Cached">Windows whose answers were known.</param>
/// <param name="TokensAsked">Tokens that would go through the model if each request were run alone.</param>
/// <param name="TokensDistinct">Of those whose answers were not known, tokens that differ in what stands before them: nobody can compute fewer.</param>
/// <param name="TokensComputed">Tokens that went through the model, padding among them.</param>
public readonly record struct EngineCounts(int Requests, int Cached, long TokensAsked, long TokensDistinct, long TokensComputed)
{
    /// <summary>Answers that the model wrote in its own words.</summary>
    public int Texts { get; init; }

    /// <summary>Of those, the answers that were known.</summary>
    public int TextsCached { get; init; }

    /// <summary>Tokens of those that were not.</summary>
    public long TokensWritten { get; init; }

    /// <summary>The part of the computed tokens that had been computed before. A scorer that remembers an earlier call can make it less than nothing.</summary>
    public double Recomputed => TokensComputed == 0 ? 0 : 1 - ((double)TokensDistinct / TokensComputed);

    /// <summary>The part of the asked tokens that need not be computed.</summary>
    public double Saved => TokensAsked == 0 ? 0 : 1 - ((double)TokensComputed / TokensAsked);
}

/// <summary>The scores of an evaluation.</summary>
/// <param name="Scores">One for each request, in their order.</param>
/// <param name="Counts">What they cost.</param>
public sealed record EngineResult(ImmutableArray<ContinuationScore> Scores, EngineCounts Counts);
