using System.Collections.Immutable;
using System.Numerics.Tensors;
using OpenElm.Scoring;

namespace OpenElm.Inference.Scoring;

/// <summary>The log-probabilities of a group's continuations, token by token, as rows of logits come in. Different rows may be added by different threads.</summary>
/// <param name="group">The group.</param>
internal sealed class GroupTally(ContinuationGroup group)
{
    readonly double[][] _logProbabilities = [.. group.Continuations.Select(tokens => new double[tokens.Length])];
    readonly bool[][] _greedy = [.. group.Continuations.Select(tokens => new bool[tokens.Length])];

    /// <summary>The group.</summary>
    public ContinuationGroup Group => group;

    /// <summary>Takes the row behind the context, which predicts the first token of every continuation.</summary>
    /// <param name="logits">[candidates].</param>
    /// <returns>Whether the logits are numbers.</returns>
    public bool AddFirst(ReadOnlySpan<float> logits)
    {
        double logSum = LogSoftmax.LogSumExp(logits);
        int likeliest = TensorPrimitives.IndexOfMax(logits);
        bool finite = true;
        for (int i = 0; i < group.Continuations.Length; i++)
        {
            finite &= Set(i, 0, logits, logSum, likeliest);
        }

        return finite;
    }

    /// <summary>Takes the row that predicts a later token of one continuation.</summary>
    /// <param name="continuation">Which.</param>
    /// <param name="position">The token, from 1.</param>
    /// <param name="logits">[candidates].</param>
    /// <returns>Whether the logits are numbers.</returns>
    public bool Add(int continuation, int position, ReadOnlySpan<float> logits) =>
        Set(continuation, position, logits, LogSoftmax.LogSumExp(logits), TensorPrimitives.IndexOfMax(logits));

    /// <summary>The scores, once all rows are in: summed in the order of the tokens, as <see cref="Score.Sum"/> does.</summary>
    /// <returns>One for each continuation.</returns>
    public ImmutableArray<ContinuationScore> Scores() =>
        [.. _logProbabilities.Select((values, i) => new ContinuationScore(values.AsEnumerable().Sum(), _greedy[i].All(greedy => greedy)))];

    bool Set(int continuation, int position, ReadOnlySpan<float> logits, double logSum, int likeliest)
    {
        int token = group.Continuations[continuation][position];
        double value = logits[token] - logSum;
        (_logProbabilities[continuation][position], _greedy[continuation][position]) = (value, likeliest == token);
        return double.IsFinite(value);
    }
}
