namespace OpenElm.Inference.Generation.Beams;

/// <summary>How a beam search runs.</summary>
public sealed record BeamOptions
{
    /// <summary>Unfinished outputs that are kept from token to token; 1 is greedy.</summary>
    public int Beams { get; init; } = 4;

    /// <summary>A score is the sum of log-probabilities ÷ (tokens ^ this): above 0 favours long outputs, below 0 short ones.</summary>
    public double LengthPenalty { get; init; } = 1;

    /// <summary>
    /// Stops as soon as there are as many finished outputs as beams. Otherwise it goes on while the best unfinished output
    /// would, at its present length, be better than the worst finished one (transformers' default).
    /// </summary>
    public bool EarlyStopping { get; init; }

    /// <summary>The longest output, what ends it, penalties. Nothing is drawn: temperature 0.</summary>
    public GenerationOptions Generation { get; init; } = new();

    internal BeamOptions ValidatedFor(TextModel model)
    {
        Generation.ValidatedFor(model);
        var problems = new List<string>();
        if (Beams is < 1 or > 256)
        {
            problems.Add($"beams is {Beams}; it must be 1 to 256");
        }

        if (!double.IsFinite(LengthPenalty))
        {
            problems.Add($"length_penalty is {LengthPenalty}; it must be a number");
        }

        if (Generation.Sampling.Temperature != 0)
        {
            problems.Add($"temperature is {Generation.Sampling.Temperature}; a beam search draws nothing, leave it 0");
        }

        if (!Generation.Stop.IsEmpty)
        {
            problems.Add("stop texts end no beam search; use stop tokens, or cut the output");
        }

        if (Generation.PromptLookup > 0)
        {
            problems.Add("prompt_lookup does not go with a beam search");
        }

        return problems is [] ? this : throw OpenElmException.Of("Invalid options of a beam search", problems);
    }
}
