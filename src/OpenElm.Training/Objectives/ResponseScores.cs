using OpenElm.Data;
using OpenElm.Training.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Objectives;

/// <summary>What a model says of responses, one a sequence.</summary>
/// <param name="LogProbabilities">[sequences]: the sum of ln p over the tokens of the response, with gradient.</param>
/// <param name="MeanLogits">[sequences]: the mean logit over the vocabulary and the tokens of the response, without.</param>
internal sealed record ResponseScores(Tensor LogProbabilities, Tensor MeanLogits)
{
    /// <summary>Scores the targets of a batch; logits are computed where there is a target only.</summary>
    /// <param name="model">The model.</param>
    /// <param name="batch">The sequences; targets outside the responses are ignored ones.</param>
    public static ResponseScores Of(OpenElmModule model, TokenBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor inputs, Tensor targets) = BatchTensors.Of(batch, model.Options.Device);
        Tensor valid = targets.ne(Number(TokenBatch.IgnoredTarget));                                      // [sequences, seq]
        Tensor places = valid.flatten().nonzero().squeeze(-1);                                    // [n]
        Tensor hidden = model.ComputeHidden(inputs, model.LayoutOf(null, batch.SequenceLength)).flatten(0, 1).index_select(0, places);
        Tensor wanted = targets.flatten().index_select(0, places);
        Tensor each = model.Options.Kernels == KernelChoice.Reference
            ? TokenLogProbabilities.ComputePlain(hidden, model.HeadWeight, wanted, model.Options.ProductType)
            : TokenLogProbabilities.apply(hidden, model.HeadWeight, wanted, model.Options.ProductType);
        Tensor sequence = places.div(Number(batch.SequenceLength), RoundingMode.floor);
        Tensor sums = zeros([batch.Sequences], ScalarType.Float32, hidden.device).PlusAt(0, sequence, each);

        using var noGrad = no_grad();
        // The mean over the vocabulary of h · Wᵀ is h · mean(W).
        Tensor logits = hidden.detach().to_type(ScalarType.Float32).matmul(model.HeadWeight.detach().to_type(ScalarType.Float32).mean([0]));
        Tensor means = zeros([batch.Sequences], ScalarType.Float32, hidden.device).PlusAt(0, sequence, logits) / valid.sum(1);
        return new(sums.MoveToOuterDisposeScope(), means.MoveToOuterDisposeScope());
    }
}
