using System.Collections.Immutable;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Generation;

/// <summary>What to generate. It travels whole from the edge to its use.</summary>
public sealed record GenerationOptions
{
    /// <summary>At most this many tokens.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Texts that end the output; they are not part of it.</summary>
    public ImmutableArray<string> Stop { get; init; } = [];

    /// <summary>Goes on after the token that ends a sequence, as benchmarks do.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>How the next token is chosen.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Checks every option, those of <see cref="Sampling"/> too.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public GenerationOptions Validated()
    {
        var problems = new List<string>();
        if (MaxTokens < 1)
        {
            problems.Add($"max_tokens is {MaxTokens}; it must be 1 or more");
        }

        if (Stop.Any(string.IsNullOrEmpty))
        {
            problems.Add("a stop text is empty; it would end every output at once");
        }

        Sampling.Validate(problems);
        return problems is [] ? this : throw OpenElmException.Of("Invalid generation options", problems);
    }
}
