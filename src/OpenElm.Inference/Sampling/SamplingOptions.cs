using System.Collections.Immutable;

namespace OpenElm.Inference.Sampling;

/// <summary>
/// How the next token is chosen. Greedy by default. The order is logit bias, repetition, frequency and presence penalty,
/// temperature, top-k, top-p, min-p, typical-p; where Hugging Face has the same processors, its order.
/// </summary>
public sealed record SamplingOptions
{
    // Finite, so that what a constraint allows stays possible.
    const int MostAdded = 1000;

    /// <summary>Divides the logits; 0 takes the largest (greedy).</summary>
    public double Temperature { get; init; }

    /// <summary>Keeps this many of the largest logits; 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the fewest tokens that together have this probability; 1 keeps all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Drops tokens less likely than this share of the likeliest; 0 keeps all.</summary>
    public double MinP { get; init; }

    /// <summary>Keeps the tokens of most typical surprise that together have this probability; 1 keeps all.</summary>
    public double TypicalP { get; init; } = 1;

    /// <summary>Makes tokens that already occur, in the prompt or the output, less likely; 1 changes nothing.</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from a token's logit for each time it occurs in the output; 0 changes nothing.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Subtracted from the logits of tokens that occur in the output; 0 changes nothing.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Added to the logits of single tokens, by id.</summary>
    public ImmutableDictionary<int, double> LogitBias { get; init; } = ImmutableDictionary<int, double>.Empty;

    /// <summary>Seed of the draws.</summary>
    public int Seed { get; init; }

    /// <summary>Whether the largest logit is taken as the model gives it.</summary>
    internal bool IsPlainlyGreedy => Temperature == 0 && TakesLogitsAsTheyAre;

    bool TakesLogitsAsTheyAre => RepetitionPenalty == 1 && FrequencyPenalty == 0 && PresencePenalty == 0 && LogitBias.IsEmpty;

    /// <summary>How a sampler of these options draws, if that needs nothing but logits and a random number.</summary>
    /// <param name="sampler">Whose random numbers are used.</param>
    /// <returns>The rule; null if the sampler has to see the logits.</returns>
    internal DrawRule? RuleOf(ISampler sampler) => sampler is RandomDraw draw && TakesLogitsAsTheyAre && TypicalP == 1
        ? new DrawRule((float)Temperature, TopK, (float)(1 - TopP), (float)MinP, draw.Random) : null;

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
        void Require(bool holds, string problem)
        {
            if (!holds)
            {
                problems.Add(problem);
            }
        }

        // Written so that NaN is refused too.
        Require(Temperature >= 0 && double.IsFinite(Temperature), $"temperature is {Temperature}; it must be 0 (greedy) or a positive number");
        Require(TopK >= 0, $"top_k is {TopK}; it must be 0 (all) or more");
        Require(TopP is > 0 and <= 1, $"top_p is {TopP}; it must be in (0, 1]");
        Require(MinP is >= 0 and <= 1, $"min_p is {MinP}; it must be in [0, 1]");
        Require(TypicalP is > 0 and <= 1, $"typical_p is {TypicalP}; it must be in (0, 1]");
        Require(RepetitionPenalty > 0 && double.IsFinite(RepetitionPenalty), $"repetition_penalty is {RepetitionPenalty}; it must be a positive number (1 changes nothing)");
        Require(Math.Abs(FrequencyPenalty) <= MostAdded, $"frequency_penalty is {FrequencyPenalty}; it must be in [-{MostAdded}, {MostAdded}] (0 changes nothing)");
        Require(Math.Abs(PresencePenalty) <= MostAdded, $"presence_penalty is {PresencePenalty}; it must be in [-{MostAdded}, {MostAdded}] (0 changes nothing)");
        foreach ((int token, double bias) in LogitBias.OrderBy(pair => pair.Key))
        {
            Require(token >= 0 && Math.Abs(bias) <= MostAdded, $"logit_bias adds {bias} to token {token}; it takes ids of tokens and numbers in [-{MostAdded}, {MostAdded}]");
        }

        Require(
            Temperature != 0 || (TopK <= 0 && !(TopP < 1) && !(MinP > 0) && !(TypicalP < 1)),
            "top_k, top_p, min_p and typical_p have no effect at temperature 0, which is greedy; give a temperature");
    }

    /// <summary>The processors that these options switch on, in order.</summary>
    /// <param name="promptLength">Where the output begins: frequency and presence penalty count from there.</param>
    /// <returns>One processor that applies them all.</returns>
    public Chain CreateProcessors(int promptLength = 0)
    {
        var processors = new List<ILogitsProcessor>();
        void Add(bool wanted, Func<ILogitsProcessor> create)
        {
            if (wanted)
            {
                processors.Add(create());
            }
        }

        Add(!LogitBias.IsEmpty, () => new LogitBias(LogitBias));
        Add(RepetitionPenalty != 1, () => new RepetitionPenalty(RepetitionPenalty));
        Add(FrequencyPenalty != 0, () => new FrequencyPenalty(FrequencyPenalty, promptLength));
        Add(PresencePenalty != 0, () => new PresencePenalty(PresencePenalty, promptLength));
        Add(Temperature is not (0 or 1), () => new Temperature(Temperature));
        Add(TopK > 0, () => new TopK(TopK));
        Add(TopP < 1, () => new TopP(TopP));
        Add(MinP > 0, () => new MinP(MinP));
        Add(TypicalP < 1, () => new TypicalP(TypicalP));
        return new Chain(processors);
    }

    /// <summary>Creates the sampler of one text.</summary>
    /// <param name="promptLength">Where the output begins: frequency and presence penalty count from there.</param>
    /// <returns>The sampler, with draws from <see cref="Seed"/>.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public ISampler CreateSampler(int promptLength = 0) => Validated().Temperature == 0
        ? new Greedy(CreateProcessors(promptLength))
        : new RandomDraw(CreateProcessors(promptLength), Seed);
}
