using System.Collections.Immutable;

namespace OpenElm.Evaluation.Tasks;

/// <summary>A task with its documents.</summary>
/// <param name="Task">The task.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Items">The documents.</param>
public sealed record PreparedTask(IEvaluationTask Task, int Shots, ImmutableArray<EvaluationItem> Items)
{
    /// <summary>What was taken instead of official data that are missing; such numbers do not compare with published ones.</summary>
    public ImmutableArray<StandIn> StandIns { get; init; } = [];
}
