using System.Collections.Immutable;
using OpenElm.Diagnostics;

namespace OpenElm.Training.Reporting;

/// <summary>Everything the report of a finished run shows: plain values, so that it can be made without a trainer.</summary>
public sealed record RunReport
{
    /// <summary>The run.</summary>
    public required RunInfo Run { get; init; }

    /// <summary>How it ended.</summary>
    public required RunEnd End { get; init; }

    /// <summary>When the report was written.</summary>
    public required DateTimeOffset WrittenAt { get; init; }

    /// <summary>The machine it ran on.</summary>
    public required Machine Machine { get; init; }

    /// <summary>The effective configuration, as YAML.</summary>
    public required string Configuration { get; init; }

    /// <summary>The logged steps.</summary>
    public ImmutableArray<StepMetrics> Steps { get; init; } = [];

    /// <summary>The measurements on held-out text.</summary>
    public ImmutableArray<ValidationMetrics> Validations { get; init; } = [];

    /// <summary>The comparison with counting pairs of tokens; null when it was not made.</summary>
    public BigramComparison? Bigram { get; init; }

    /// <summary>The share of held-out pairs whose chosen response has the higher reward; null for language models.</summary>
    public Proportion? RewardAccuracy { get; init; }

    /// <summary>Facts about the data, such as documents, tokens, and the share of them kept, padded and dropped.</summary>
    public ImmutableArray<ReportFact> Data { get; init; } = [];

    /// <summary>Facts about the model.</summary>
    public ImmutableArray<ReportFact> Model { get; init; } = [];

    /// <summary>How long each part took.</summary>
    public ImmutableArray<ReportTiming> Timings { get; init; } = [];

    /// <summary>Texts that the model wrote.</summary>
    public ImmutableArray<GeneratedSample> Samples { get; init; } = [];
}

/// <summary>One line of a table: a name and a value, ready to read.</summary>
/// <param name="Name">The name.</param>
/// <param name="Value">The value.</param>
public sealed record ReportFact(string Name, string Value);

/// <summary>A part of the run and how long it took.</summary>
/// <param name="Name">The part.</param>
/// <param name="Duration">Its time.</param>
public sealed record ReportTiming(string Name, TimeSpan Duration);

/// <summary>The model against a bigram model on the same held-out tokens.</summary>
/// <param name="Bigram">How the bigram model was made.</param>
/// <param name="BigramLoss">Its cross entropy in nats a token.</param>
/// <param name="ModelLoss">The trained model's.</param>
/// <param name="Tokens">The tokens measured on.</param>
public sealed record BigramComparison(string Bigram, double BigramLoss, double ModelLoss, long Tokens);
