using System.Collections.Immutable;
using OpenElm.Data;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Objectives;

/// <summary>Preference tuning: the chosen response of each pair shall gain on the rejected one, measured against a reference model.</summary>
/// <param name="config">The form of the loss.</param>
/// <param name="reference">What the reference model says of the pairs.</param>
public sealed class PreferenceObjective(PreferenceLossConfig config, ReferenceLogProbabilities reference) : ITrainingObjective<PreferenceBatch>
{
    /// <summary>The name of the share of pairs whose chosen response has the higher reward.</summary>
    public const string RewardAccuracy = "reward_accuracy";

    /// <inheritdoc/>
    public ImmutableArray<Measurement> Measurements { get; } =
    [
        new("preference_loss", IsPartOfLoss: true), new(RewardAccuracy, IsWatched: true), new("reward_margin", IsWatched: true), new("reward_chosen"), new("reward_rejected"),
        new("log_probability_chosen"), new("log_probability_rejected"), new("logit_chosen"), new("logit_rejected"),
    ];

    /// <inheritdoc/>
    public ObjectiveResult Compute(OpenElmModule model, PreferenceBatch batch)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        using DisposeScope scope = NewDisposeScope();
        ResponseScores scores = ResponseScores.Of(model, batch.Sequences);
        int pairs = batch.Pairs.Length;
        Tensor stored = tensor(batch.Pairs.SelectMany(pair => new[] { reference[pair].Chosen, reference[pair].Rejected }).ToArray(), [pairs, 2], device: TorchLibrary.Device(model.Options.Device));
        Tensor[] policy = [scores.LogProbabilities[..pairs], scores.LogProbabilities[pairs..]], refer = [stored[.., 0], stored[.., 1]];        // [pairs] each
        Tensor delta = policy[0] - policy[1] - (refer[0] - refer[1]);
        Tensor loss = Loss(delta).mean();

        using var noGrad = no_grad();
        Tensor[] rewards = [.. policy.Zip(refer, (p, r) => Number(config.Beta) * (p.detach() - r))];
        Tensor[] measured =
        [
            loss.detach(), rewards[0].gt(rewards[1]).to_type(ScalarType.Float32).mean(), (rewards[0] - rewards[1]).mean(), rewards[0].mean(), rewards[1].mean(),
            policy[0].detach().mean(), policy[1].detach().mean(), scores.MeanLogits[..pairs].mean(), scores.MeanLogits[pairs..].mean(),
        ];
        return new(loss.MoveToOuterDisposeScope(), [.. measured.Select(value => value.MoveToOuterDisposeScope())]);
    }

    /// <inheritdoc/>
    public BatchSize SizeOf(PreferenceBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        int[] targets = batch.Sequences.Targets;
        return new(targets.Length, batch.Pairs.Length, targets.Length - targets.AsSpan().Count(TokenBatch.IgnoredTarget), batch.Sequences.Origin);
    }

    /// <inheritdoc/>
    public PreferenceBatch PartOf(PreferenceBatch batch, int part, int parts)
    {
        ArgumentNullException.ThrowIfNull(batch);
        return batch.PairsOf(batch.Pairs.Length * part / parts, batch.Pairs.Length * (part + 1) / parts);
    }

    Tensor Loss(Tensor delta) => config.Kind switch
    {
        PreferenceLossKind.Hinge => nn.functional.relu((Number(-config.Beta) * delta).Plus(One)),
        PreferenceLossKind.Ipo => (delta - Number(1 / (2 * config.Beta))).square(),
        _ when config.LabelSmoothing == 0 => -nn.functional.logsigmoid(Number(config.Beta) * delta),
        _ => -(Number(1 - config.LabelSmoothing) * nn.functional.logsigmoid(Number(config.Beta) * delta)) - (Number(config.LabelSmoothing) * nn.functional.logsigmoid(Number(-config.Beta) * delta)),
    };
}
