namespace OpenElm.Inference.Sampling;

/// <summary>How the next token is chosen. Greedy by default. The order is Hugging Face's: repetition penalty, temperature, top-k, top-p, min-p.</summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 takes the largest (greedy).</summary>
    public double Temperature { get; init; }

    /// <summary>Keeps this many of the largest logits; 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the fewest tokens that together have this probability; 1 keeps all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Drops tokens less likely than this share of the likeliest; 0 keeps all.</summary>
    public double MinP { get; init; }

    /// <summary>Makes tokens that already occur less likely; 1 changes nothing.</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Seed of the draws.</summary>
    public int Seed { get; init; }

    /// <summary>Checks every option.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public SamplingOptions Validated()
    {
        var problems = new List<string>();
        Validate(problems);
        return problems is [] ? this : throw OpenElmException.Of("Invalid sampling options", problems);
    }

    /// <summary>Adds one sentence for each impossible option.</summary>
    /// <param name="problems">The list to add to.</param>
    public void Validate(List<string> problems)
    {
        // Written so that NaN is refused too.
        if (!(Temperature >= 0) || !double.IsFinite(Temperature))
        {
            problems.Add($"temperature is {Temperature}; it must be 0 (greedy) or a positive number");
        }

        if (TopK < 0)
        {
            problems.Add($"top_k is {TopK}; it must be 0 (all) or more");
        }

        if (TopP is not (> 0 and <= 1))
        {
            problems.Add($"top_p is {TopP}; it must be in (0, 1]");
        }

        if (MinP is not (>= 0 and <= 1))
        {
            problems.Add($"min_p is {MinP}; it must be in [0, 1]");
        }

        if (!(RepetitionPenalty > 0) || !double.IsFinite(RepetitionPenalty))
        {
            problems.Add($"repetition_penalty is {RepetitionPenalty}; it must be a positive number (1 changes nothing)");
        }

        if (Temperature == 0 && (TopK > 0 || TopP < 1 || MinP > 0))
        {
            problems.Add("top_k, top_p and min_p have no effect at temperature 0, which is greedy; give a temperature");
        }
    }

    /// <summary>The processors that these options switch on, in order.</summary>
    /// <returns>One processor that applies them all.</returns>
    public Chain CreateProcessors()
    {
        var processors = new List<ILogitsProcessor>();
        void Add(bool wanted, Func<ILogitsProcessor> create)
        {
            if (wanted)
            {
                processors.Add(create());
            }
        }

        Add(RepetitionPenalty != 1, () => new RepetitionPenalty(RepetitionPenalty));
        Add(Temperature is not (0 or 1), () => new Temperature(Temperature));
        Add(TopK > 0, () => new TopK(TopK));
        Add(TopP < 1, () => new TopP(TopP));
        Add(MinP > 0, () => new MinP(MinP));
        return new Chain(processors);
    }

    /// <summary>Creates the sampler of one text.</summary>
    /// <returns>The sampler, with draws from <see cref="Seed"/>.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public ISampler CreateSampler() => Validated().Temperature == 0
        ? new Greedy(CreateProcessors())
        : new RandomDraw(CreateProcessors(), Seed);
}
