using System.Collections.Immutable;

namespace OpenElm.Verification.Golden;

/// <summary>What a <c>sampling-*</c> file gives a runtime.</summary>
/// <param name="InputIds">[batch, seq]: the ids so far, for the repetition penalty.</param>
/// <param name="Logits">[batch, vocab].</param>
/// <param name="Processors">The processors whose results the file holds.</param>
public sealed record GoldenSampling(GoldenIds InputIds, GoldenTensor Logits, ImmutableArray<GoldenProcessor> Processors);

/// <summary>One entry of a sampling file: the settings that its name spells, each null where it is not applied.</summary>
/// <param name="Key">The name in the file, for example <c>top_p_0.9</c>.</param>
public sealed record GoldenProcessor(string Key)
{
    /// <summary>Repetition penalty.</summary>
    public double? RepetitionPenalty { get; init; }

    /// <summary>Temperature.</summary>
    public double? Temperature { get; init; }

    /// <summary>Candidates kept by top-k.</summary>
    public int? TopK { get; init; }

    /// <summary>Mass kept by top-p.</summary>
    public double? TopP { get; init; }

    /// <summary>Least probability relative to the largest.</summary>
    public double? MinP { get; init; }

    /// <summary>Whether the file holds probabilities (softmax of the result) and not logits.</summary>
    public bool Probabilities { get; init; }
}
