using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Suites;

namespace OpenElm.Evaluation.Reports;

/// <summary>Everything an evaluation found, and what it depends on.</summary>
public sealed record EvaluationReport
{
    /// <summary>The model as the user named it; <c>--scores</c> names the file.</summary>
    public required string Model { get; init; }

    /// <summary>What computed the scores.</summary>
    public required string Runtime { get; init; }

    /// <summary>The program's version.</summary>
    public required string Version { get; init; }

    /// <summary>When it ended, in UTC.</summary>
    public required DateTimeOffset Date { get; init; }

    /// <summary>Seed of the examples.</summary>
    public required int Seed { get; init; }

    /// <summary>Documents of each task; null means all.</summary>
    public int? Limit { get; init; }

    /// <summary>The suites that were asked for.</summary>
    public ImmutableArray<EvaluationSuite> Suites { get; init; } = [];

    /// <summary>The tasks' results, in the order they were asked for.</summary>
    public required ImmutableArray<TaskResult> Tasks { get; init; }

    /// <summary>Tasks that were asked for and left out, because their data cannot be read.</summary>
    public ImmutableArray<LeftOutTask> LeftOut { get; init; } = [];

    /// <summary>Tokens that the model takes; null where another engine gave the scores.</summary>
    public int? MaxLength { get; init; }

    /// <summary>What the scores cost; null where another engine gave them.</summary>
    public EngineCounts? Cost { get; init; }

    /// <summary>Seconds that scoring took.</summary>
    public double? Seconds { get; init; }

    /// <summary>The groups among the tasks.</summary>
    public ImmutableArray<GroupResult> Groups => GroupResult.Of(Tasks);

    /// <summary>A row for each suite.</summary>
    public ImmutableArray<SuiteResult> SuiteRows => [.. Suites.Select(suite => SuiteResult.Of(suite, Tasks, LeftOut))];
}
