using System.Collections.Immutable;
using OpenElm.Data;
using OpenElm.Training.Losses;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Objectives;

/// <summary>The next token: cross entropy plus z-loss over the targets of a batch; pre-training and supervised tuning.</summary>
/// <param name="config">Cross entropy and what is added to it.</param>
/// <param name="ignoredTarget">The target id where the loss does not look.</param>
public sealed class CausalLMObjective(LossConfig config, int ignoredTarget) : ITrainingObjective<TokenBatch>
{
    /// <summary>The name of the mean of −ln p(target), in nats.</summary>
    public const string CrossEntropy = "cross_entropy";

    readonly CausalLMLoss _loss = new(OptionsOf(config, ignoredTarget));

    /// <summary>What is minimised.</summary>
    internal LossOptions Loss { get; } = OptionsOf(config, ignoredTarget);

    /// <inheritdoc/>
    public ImmutableArray<Measurement> Measurements { get; } = [new(CrossEntropy, IsPartOfLoss: true), new("z_loss", IsPartOfLoss: true)];

    /// <summary>The same targets, measured by cross entropy alone: for validation.</summary>
    /// <param name="ignoredTarget">The target id where the loss does not look.</param>
    /// <returns>The objective.</returns>
    public static CausalLMObjective CrossEntropyOnly(int ignoredTarget) => new(new LossConfig { ZLoss = 0 }, ignoredTarget);

    /// <inheritdoc/>
    public ObjectiveResult Compute(OpenElmModule model, TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(model);
        using DisposeScope scope = NewDisposeScope();
        (Tensor inputs, Tensor targets) = BatchTensors.Of(batch, model.Options.Device);
        SequenceLayout layout = model.LayoutOf(batch.Positions, batch.SequenceLength);
        LossResult loss = _loss.Compute(model, inputs, targets, layout);
        if (layout.IsPacked)
        {
            // The backward pass turns gradients back with them.
            layout.Cos.MoveToOuterDisposeScope();
            layout.Sin.MoveToOuterDisposeScope();
        }

        return new(loss.Total.MoveToOuterDisposeScope(), [loss.CrossEntropy.MoveToOuterDisposeScope(), loss.ZLoss.MoveToOuterDisposeScope()]);
    }

    /// <inheritdoc/>
    public BatchSize SizeOf(TokenBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        int targets = batch.Targets.Length - batch.Targets.AsSpan().Count(ignoredTarget);
        return new(batch.Targets.Length, targets, targets, batch.Origin);
    }

    /// <inheritdoc/>
    public TokenBatch PartOf(TokenBatch batch, int part, int parts)
    {
        ArgumentNullException.ThrowIfNull(batch);
        (int begin, int end) = (batch.Sequences * part / parts, batch.Sequences * (part + 1) / parts);
        return batch.Rows(begin, end);
    }

    static LossOptions OptionsOf(LossConfig config, int ignoredTarget) => new()
    {
        IgnoreIndex = ignoredTarget,
        ZLossFactor = config.ZLoss,
        LabelSmoothing = config.LabelSmoothing,
        CountIgnoredInZLoss = config.CountPaddingInZLoss,
    };
}
