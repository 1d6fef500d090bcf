using System.Collections.Immutable;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation.Speculation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Generation;

/// <summary>What to generate. It travels whole from the edge to its use.</summary>
public sealed record GenerationOptions
{
    /// <summary>At most this many tokens.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Texts that end the output; they are not part of it.</summary>
    public ImmutableArray<string> Stop { get; init; } = [];

    /// <summary>Ids that end the output, besides the one that ends a sequence; they are not part of it.</summary>
    public ImmutableArray<int> StopTokens { get; init; } = [];

    /// <summary>Goes on after the token that ends a sequence, as benchmarks do.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>How the next token is chosen.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>
    /// Proposes at most this many tokens that followed earlier where the text now repeats itself, and verifies them in one
    /// pass. The output stays the same; texts that repeat come faster. 0 proposes nothing.
    /// </summary>
    public int PromptLookup { get; init; }

    /// <summary>What the output may be; null is anything. It says where the output ends, so nothing else may.</summary>
    public OutputConstraint? Constraint { get; init; }

    /// <summary>Checks every option, those of <see cref="Sampling"/> too.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public GenerationOptions Validated()
    {
        var problems = new List<string>();
        Validate(problems);
        return problems is [] ? this : throw OpenElmException.Of("Invalid generation options", problems);
    }

    /// <summary>Whether a token ends the output.</summary>
    /// <param name="token">The token.</param>
    /// <param name="eos">The id that ends a sequence.</param>
    /// <returns>Why; None if it does not.</returns>
    internal FinishReason EndOf(int token, int eos) =>
        token == eos && !IgnoreEos ? FinishReason.EndOfSequence : StopTokens.Contains(token) ? FinishReason.StopToken : FinishReason.None;

    /// <summary>Checks every option, also against the model: its ids and whether it has a tokenizer.</summary>
    /// <param name="model">The model.</param>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    internal GenerationOptions ValidatedFor(TextModel model)
    {
        var problems = new List<string>();
        Validate(problems);
        problems.AddRange(StopTokens.Where(id => id >= model.Candidates).Select(id => $"the stop token {id} is outside of the {model.Candidates} tokens of the vocabulary"));
        problems.AddRange(Sampling.LogitBias.Keys.Where(id => id >= model.Candidates).Order().Select(id => $"logit_bias names token {id}; the vocabulary has {model.Candidates}"));
        if (problems is not [])
        {
            throw OpenElmException.Of("Invalid generation options", problems);
        }

        if (!Stop.IsEmpty)
        {
            model.RequireTokenizer("A stop text");
        }

        if (Constraint is not null)
        {
            model.RequireTokenizer("A constraint");
            if (model.EosId < 0 || model.EosId >= model.Candidates)
            {
                throw new OpenElmException("A constraint needs a token that ends a sequence; this model has none.");
            }

            model.MasksOf(Constraint); // says at once if the vocabulary cannot write every byte
        }

        return this;
    }

    void Validate(List<string> problems)
    {
        if (MaxTokens < 1)
        {
            problems.Add($"max_tokens is {MaxTokens}; it must be 1 or more");
        }

        if (Stop.Any(string.IsNullOrEmpty))
        {
            problems.Add("a stop text is empty; it would end every output at once");
        }

        problems.AddRange(StopTokens.Where(id => id < 0).Select(id => $"the stop token {id} is no id of a token"));
        if (PromptLookup is < 0 or > SpeculationPace.MostProposals)
        {
            problems.Add($"prompt_lookup is {PromptLookup}; it must be 0 (off) to {SpeculationPace.MostProposals} tokens");
        }

        if (Constraint is not null && (IgnoreEos || !Stop.IsEmpty || !StopTokens.IsEmpty))
        {
            problems.Add("a constraint says where the output ends: leave out stop texts, stop tokens and ignore_eos");
        }

        Sampling.Validate(problems);
    }
}
