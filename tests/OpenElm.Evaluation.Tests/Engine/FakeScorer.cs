using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Evaluation.Engine;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Engine;

/// <summary>A model whose scores are a formula of the tokens, and which remembers what it was asked.</summary>
internal sealed class FakeScorer : IContinuationScorer
{
    public List<ContinuationGroup> Asked { get; } = [];

    public List<int> CallSizes { get; } = [];

    /// <summary>Groups after which it fails, as a killed process would.</summary>
    public int FailAfter { get; init; } = int.MaxValue;

    public OpenElmConfig Config => throw new NotSupportedException();

    public int MaxLength => 64;

    public long TokensComputed { get; private set; }

    public static ContinuationScore ScoreOf(ImmutableArray<int> context, ImmutableArray<int> continuation)
    {
        double sum = 0;
        foreach (int token in context.AddRange(continuation))
        {
            sum = (sum * 0.7) - (token * 0.01) - (1.0 / 3);
        }

        return new ContinuationScore(sum - continuation.Length, continuation[0] % 2 == 0);
    }

    public static ContinuationScore ScoreOf(TokenWindow window) => ScoreOf(window.Context, window.Continuation);

    public void Score(IReadOnlyList<ContinuationGroup> groups, Action<int, ImmutableArray<ContinuationScore>> scored, CancellationToken cancellation = default)
    {
        ContinuationGroupRules.Check(groups, MaxLength, 1000);
        CallSizes.Add(groups.Count);
        for (int i = groups.Count - 1; i >= 0; i--) // any order is allowed
        {
            cancellation.ThrowIfCancellationRequested();
            if (Asked.Count == FailAfter)
            {
                throw new IOException("killed");
            }

            Asked.Add(groups[i]);
            TokensComputed += groups[i].Context.Length + groups[i].Continuations.Sum(tokens => tokens.Length - 1);
            scored(i, [.. groups[i].Continuations.Select(continuation => ScoreOf(groups[i].Context, continuation))]);
        }
    }

    public void Dispose()
    {
    }
}

/// <summary>Hears progress at once, on the same thread.</summary>
internal sealed class Heard : IProgress<EngineProgress>
{
    public List<EngineProgress> Reports { get; } = [];

    public void Report(EngineProgress value) => Reports.Add(value);
}
