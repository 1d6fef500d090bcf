using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Verification.Golden;

/// <summary>A tensor of a golden file, in memory.</summary>
/// <param name="Shape">The sizes, outermost first.</param>
/// <param name="Values">The elements, row-major.</param>
public sealed record GoldenTensor(ImmutableArray<long> Shape, float[] Values);

/// <summary>Token ids of a golden file.</summary>
/// <param name="Shape">The sizes, outermost first; the last is the sequence.</param>
/// <param name="Values">The ids, row-major.</param>
public sealed record GoldenIds(ImmutableArray<long> Shape, long[] Values);

/// <summary>What a <c>model-*</c> file gives a runtime.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Weights">Every weight under CoreNet's name.</param>
/// <param name="InputIds">[batch, seq]. The targets of the plain losses are the next tokens: position p predicts token p + 1, the last position has no target.</param>
/// <param name="MaskedTargets">[batch, seq − 1]: the targets of the masked losses.</param>
/// <param name="PaddingId">Masked targets equal to this are ignored by both masked losses.</param>
/// <param name="ZLossFactor">The factor of the z-loss: z = factor · mean over valid targets of logsumexp(logits)².</param>
public sealed record GoldenModel(
    OpenElmConfig Config,
    ImmutableDictionary<string, GoldenTensor> Weights,
    GoldenIds InputIds,
    GoldenIds MaskedTargets,
    int PaddingId,
    double ZLossFactor);

/// <summary>What a runtime answers to a <see cref="GoldenModel"/>.</summary>
/// <param name="Logits">[batch, seq, vocab].</param>
public sealed record GoldenModelOutput(float[] Logits)
{
    /// <summary>The losses of the plain targets, or null if the runtime has no losses.</summary>
    public GoldenLosses? Losses { get; init; }

    /// <summary>The losses of the masked targets, or null if the runtime has no losses.</summary>
    public GoldenLosses? MaskedLosses { get; init; }

    /// <summary>Gradients of plain cross entropy + z-loss by CoreNet's name of the weight, or null if the runtime has no gradients.</summary>
    public IReadOnlyDictionary<string, float[]>? Gradients { get; init; }
}

/// <summary>The two parts of the loss.</summary>
/// <param name="CrossEntropy">Mean over valid targets of −log softmax(logits)[target].</param>
/// <param name="Z">The z-loss, its factor included.</param>
public sealed record GoldenLosses(double CrossEntropy, double Z);
