using System.Collections.Immutable;

namespace OpenElm.Evaluation.Tasks;

/// <summary>How a model writes its answer to a task: by beam search, which draws nothing.</summary>
public sealed record GenerationSettings : IValidated
{
    /// <summary>Unfinished outputs that are kept from token to token; 1 is greedy.</summary>
    public int Beams { get; init; } = 1;

    /// <summary>The longest answer, in tokens.</summary>
    public int MaxTokens { get; init; } = 32;

    /// <summary>Whether the search goes on behind the token that ends a sequence.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>Texts at which the answer ends; what follows is written, but does not count.</summary>
    public ImmutableArray<string> Until { get; init; } = [];

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        if (Beams is < 1 or > 256)
        {
            problems.Add($"{ValidationProblems.PathOf(path, "beams")} is {Beams}; it must be from 1 to 256.");
        }

        if (MaxTokens < 1)
        {
            problems.Add($"{ValidationProblems.PathOf(path, "max_tokens")} is {MaxTokens}; it must be at least 1.");
        }

        if (Until.Contains(""))
        {
            problems.Add($"{ValidationProblems.PathOf(path, "until")} holds an empty text, which would end every answer.");
        }
    }

    /// <summary>The part of a written text that counts.</summary>
    /// <param name="text">What the model wrote.</param>
    /// <returns>It, up to the first of <see cref="Until"/>.</returns>
    public string Counted(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int end = Until.Select(stop => text.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(text.Length).Min();
        return text[..end];
    }
}
