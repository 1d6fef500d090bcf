using System.Collections.Immutable;

namespace OpenElm.Training;

/// <summary>Text that the finished model writes.</summary>
public sealed record SampleConfig : IValidated
{
    /// <summary>The beginnings to continue.</summary>
    public required ImmutableArray<string> Prompts { get; init; }

    /// <summary>Tokens to add to each.</summary>
    public int MaxTokens { get; init; } = 100;

    /// <summary>Softmax temperature; 0 takes the likeliest token.</summary>
    public double Temperature { get; init; } = 0.8;

    /// <summary>Draw from the likeliest tokens that hold this share; null is 0.95 where tokens are drawn.</summary>
    public double? TopP { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Prompts is { IsDefaultOrEmpty: false }, path, "prompts", "is empty; give at least one beginning.");
        problems.Require(MaxTokens >= 1, path, "max_tokens", $"is {MaxTokens}; it must be at least 1.");
        problems.Require(Temperature >= 0, path, "temperature", $"is {Temperature}; it must be 0 or more.");
        problems.Require(TopP is null or (> 0 and <= 1), path, "top_p", $"is {TopP}; it must be in (0, 1].");
        problems.Require(TopP is null || Temperature > 0, path, "top_p", "has no effect at temperature 0, which takes the likeliest token; leave it out, or give a temperature.");
    }
}
