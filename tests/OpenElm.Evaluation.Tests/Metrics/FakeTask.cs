using System.Collections.Immutable;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Tests.Metrics;

internal sealed record FakeTask(string Name, ImmutableArray<string> Metrics, ImmutableArray<EvaluationItem> Documents) : IEvaluationTask
{
    public string? Group { get; init; }

    public RequestKind Kind { get; init; } = RequestKind.Continuation;

    public PreparedTask Prepare(EvaluationData data, ItemOptions options) => new(this, 0, Documents);
}
