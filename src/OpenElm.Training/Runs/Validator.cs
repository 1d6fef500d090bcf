using System.Collections.Immutable;
using OpenElm.Distributed;
using OpenElm.Training.Objectives;
using OpenElm.Training.Reporting;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>The result of a validation.</summary>
/// <param name="LossName">What the objective calls the loss.</param>
/// <param name="Loss">The objective's first measurement, a mean over its terms: cross entropy in nats a token for language models.</param>
/// <param name="Measured">Likewise what else it measures, terms of the loss left out.</param>
/// <param name="Terms">What the means are over: tokens of language models, pairs of preferences.</param>
/// <param name="Tokens">Targets scored.</param>
/// <param name="Bytes">UTF-8 bytes of the text they spell; null where it is not counted.</param>
internal sealed record ValidationResult(string LossName, double Loss, ImmutableArray<MeasuredValue> Measured, long Terms, long Tokens, long? Bytes)
{
    /// <summary>Bits that the model needs for a byte of text; comparable across tokenizers.</summary>
    public double? BitsPerByte => Loss * Tokens / Bytes / Math.Log(2);

    /// <summary>The result as observers see it.</summary>
    /// <param name="step">After which update.</param>
    /// <param name="duration">How long it took.</param>
    /// <returns>The event.</returns>
    public ValidationMetrics At(long step, TimeSpan duration) =>
        new() { Step = step, LossName = LossName, Loss = Loss, BitsPerByte = BitsPerByte, Tokens = Tokens, Duration = duration, Measured = Measured };
}

/// <summary>A held-out batch.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
/// <param name="Batch">The batch.</param>
/// <param name="Bytes">UTF-8 bytes of the text that its targets spell; null where they are not counted.</param>
internal readonly record struct HeldOut<TBatch>(TBatch Batch, long? Bytes = null);

/// <summary>Scores held-out data: the same batches every time, each weighted by the terms of its means.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
/// <param name="objective">What is measured.</param>
/// <param name="every">Validate after every so many updates, and at the end.</param>
/// <param name="batches">Reads the batches.</param>
/// <param name="group">The ranks that share the batches; null for a process that is alone. The sums are made in the order of the batches, so they are the same for any number.</param>
internal sealed class Validator<TBatch>(ITrainingObjective<TBatch> objective, int every, Func<CancellationToken, IEnumerable<HeldOut<TBatch>>> batches, IProcessGroup? group = null)
{
    /// <summary>Validate after every so many updates.</summary>
    public int Every => every;

    /// <summary>Scores the data.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancel">Ends it early.</param>
    public ValidationResult Run(OpenElmModule model, CancellationToken cancel)
    {
        double[] sums = new double[objective.Measurements.Length];
        (long terms, long tokens) = (0, 0);
        long? bytes = 0;
        using var noGrad = no_grad();
        foreach (HeldOut<TBatch>[] round in batches(cancel).Chunk(group?.Size ?? 1))
        {
            using DisposeScope scope = NewDisposeScope();
            if (group is null)
            {
                cancel.ThrowIfCancellationRequested(); // ranks stop together, at the next update
            }

            // Where fewer batches are left than ranks, the others compute the first one in vain: they may have to lend their weights.
            int own = group is { Rank: var rank } && rank < round.Length ? rank : 0;
            float[] mine = [.. objective.Compute(model, round[own].Batch).Measured.Select(value => value.item<float>())];
            float[] all = group is null ? mine : group.AllGather<float>(mine);
            for (int b = 0; b < round.Length; b++)
            {
                BatchSize size = objective.SizeOf(round[b].Batch);
                for (int i = 0; i < sums.Length; i++)
                {
                    sums[i] += all[(b * sums.Length) + i] * size.Terms;
                }

                (terms, tokens) = (terms + size.Terms, tokens + size.Targets);
                bytes += round[b].Bytes;
            }
        }

        MeasuredValue[] means = [.. objective.Measurements.Select((measurement, i) => new MeasuredValue(measurement.Name, sums[i] / terms))];
        return new ValidationResult(means[0].Name, means[0].Value, [.. means.Where((_, i) => i > 0 && !objective.Measurements[i].IsPartOfLoss)], terms, tokens, bytes);
    }
}
