using OpenElm.Distributed;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>What the ranks of a job tell each other of their answers.</summary>
internal static class RankAnswers
{
    /// <summary>Gives every rank the answers of all.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="answers">One for each window; null where this rank has none.</param>
    public static void Share(this IProcessGroup group, ContinuationScore?[] answers)
    {
        double[] own = [.. answers.SelectMany(answer => answer is { } known ? new[] { 1, known.LogProbability, known.IsGreedy ? 1 : 0 } : [0, 0, 0])];
        double[] all = group.AllGather<double>(own);
        for (int i = 0; i < all.Length; i += 3)
        {
            if (all[i] != 0)
            {
                answers[i % own.Length / 3] = new ContinuationScore(all[i + 1], all[i + 2] != 0);
            }
        }
    }

    /// <summary>Gives every rank the texts of all.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="tokens">One for each question; null where this rank has none.</param>
    public static void Share(this IProcessGroup group, int[]?[] tokens)
    {
        string own = string.Join('\n', tokens.Index().Where(entry => entry.Item is not null).Select(entry => $"{entry.Index} {string.Join(' ', entry.Item!)}"));
        foreach (string line in group.AllGather(own).SelectMany(text => text.Split('\n', StringSplitOptions.RemoveEmptyEntries)))
        {
            int[] numbers = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
            tokens[numbers[0]] = numbers[1..];
        }
    }
}
