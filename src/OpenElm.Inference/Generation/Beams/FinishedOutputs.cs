namespace OpenElm.Inference.Generation.Beams;

/// <summary>The best finished outputs so far, at most as many as there are beams.</summary>
/// <param name="options">Of the search.</param>
internal sealed class FinishedOutputs(BeamOptions options)
{
    readonly List<BeamOutput> _outputs = [];

    /// <summary>The outputs, the best first; of equal ones the later first, as transformers returns them.</summary>
    public IReadOnlyList<BeamOutput> BestFirst => [.. Enumerable.Reverse(_outputs).OrderByDescending(output => output.Score)];

    /// <summary>Takes an output, and drops the worst where there are too many.</summary>
    /// <param name="tokens">The output.</param>
    /// <param name="logProbability">The sum of its log-probabilities.</param>
    /// <param name="length">Its length, with the token that ended it.</param>
    /// <param name="reason">Why it ended.</param>
    public void Add(ReadOnlyMemory<int> tokens, double logProbability, int length, FinishReason reason)
    {
        double score = Score(logProbability, length);
        if (_outputs.Count < options.Beams || score > Worst().Score)
        {
            _outputs.Add(new BeamOutput(tokens, score, reason));
        }

        if (_outputs.Count > options.Beams)
        {
            _outputs.Remove(Worst());
        }
    }

    /// <summary>Whether no unfinished output is worth going on with.</summary>
    /// <param name="best">The largest sum of log-probabilities of the candidates.</param>
    /// <param name="length">Their length.</param>
    /// <returns>Whether the search ends.</returns>
    public bool IsDone(double best, int length) =>
        _outputs.Count >= options.Beams && (options.EarlyStopping || Worst().Score >= Score(best, length));

    double Score(double logProbability, int length) => logProbability / Math.Pow(length, options.LengthPenalty);

    BeamOutput Worst() => _outputs.MinBy(output => output.Score)!;
}
