using System.Text.RegularExpressions;

namespace OpenElm.Evaluation.Tasks;

/// <summary>The right answer to a question that a model answers in its own words.</summary>
/// <param name="Pattern">A regular expression of all answers, right and wrong.</param>
/// <param name="Right">The right one.</param>
public sealed record ExpectedAnswer(string Pattern, string Right)
{
    /// <summary>Finds the answer in a text.</summary>
    /// <param name="text">What the model wrote.</param>
    /// <returns>The first match of the pattern; null if there is none, which counts as wrong.</returns>
    public string? Find(string text) => Regex.Match(text, Pattern, RegexOptions.CultureInvariant) is { Success: true, Value: var answer } ? answer : null;
}
