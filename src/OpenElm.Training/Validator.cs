using OpenElm.Data;
using OpenElm.Training.Losses;
using OpenElm.Training.Reporting;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>The result of a validation.</summary>
/// <param name="Loss">Cross entropy in nats a token.</param>
/// <param name="Tokens">Tokens scored.</param>
/// <param name="Bytes">UTF-8 bytes of the text they spell.</param>
public readonly record struct ValidationResult(double Loss, long Tokens, long Bytes)
{
    /// <summary>exp(loss): perplexity of a token.</summary>
    public double Perplexity => Math.Exp(Loss);

    /// <summary>Bits that the model needs for a byte of text; comparable across tokenizers.</summary>
    public double BitsPerByte => Loss * Tokens / Bytes / Math.Log(2);

    /// <summary>The result as observers see it.</summary>
    /// <param name="step">After which update.</param>
    /// <param name="duration">How long it took.</param>
    /// <returns>The event.</returns>
    internal ValidationMetrics At(long step, TimeSpan duration) => new() { Step = step, Loss = Loss, BitsPerByte = BitsPerByte, Tokens = Tokens, Duration = duration };
}

/// <summary>Scores held-out text: the same batches every time, weighted by token.</summary>
internal sealed class Validator(HeldOutText text, int maxBatches, int padId)
{
    /// <summary>Scores the text.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancel">Ends it early.</param>
    public ValidationResult Run(OpenElmModule model, CancellationToken cancel)
    {
        var loss = new CausalLMLoss(new LossOptions { IgnoreIndex = padId, ZLossFactor = 0 });
        double sum = 0;
        (long tokens, long bytes) = (0, 0);
        using var noGrad = no_grad();
        foreach (HeldOutBatch batch in Batches(cancel))
        {
            using DisposeScope scope = NewDisposeScope();
            (Tensor inputs, Tensor targets) = BatchTensors.Of(batch.Batch, model.Options.Device);
            sum += loss.Compute(model, inputs, targets).CrossEntropy.item<float>() * batch.Tokens;
            tokens += batch.Tokens;
            bytes += batch.Bytes;
        }

        return new ValidationResult(sum / tokens, tokens, bytes);
    }

    /// <summary>The batches that count.</summary>
    public IEnumerable<HeldOutBatch> Batches(CancellationToken cancel) => maxBatches == 0 ? text.Read(cancel) : text.Read(cancel).Take(maxBatches);
}
