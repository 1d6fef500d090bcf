using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Engine;

/// <summary>A question that the model answers in its own words.</summary>
/// <param name="Prompt">[n], at least one token.</param>
/// <param name="Settings">How the answer is written.</param>
public sealed record GenerationRequest(ImmutableArray<int> Prompt, GenerationSettings Settings)
{
    /// <summary>Whether the beginning of the prompt was cut off because the model takes fewer tokens.</summary>
    public bool IsTruncated { get; init; }
}
