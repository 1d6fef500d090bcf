using System.Collections.Immutable;
using static TorchSharp.torch;

namespace OpenElm.Training.Objectives;

/// <summary>What training minimises, and what it measures on the way: the part in which pre-training, supervised tuning and preference tuning differ.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
public interface ITrainingObjective<TBatch>
{
    /// <summary>What is measured, in the order of <see cref="ObjectiveResult.Measured"/>. The first is the loss that validation reports.</summary>
    ImmutableArray<Measurement> Measurements { get; }

    /// <summary>Runs the model on one micro-batch.</summary>
    /// <param name="model">The model.</param>
    /// <param name="batch">The micro-batch.</param>
    /// <returns>The loss and the measurements, moved out of inner scopes.</returns>
    ObjectiveResult Compute(OpenElmModule model, TBatch batch);

    /// <summary>The size of a batch.</summary>
    /// <param name="batch">The batch.</param>
    /// <returns>Counts.</returns>
    BatchSize SizeOf(TBatch batch);

    /// <summary>A part of a batch, for one of several ranks that share it.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="part">Which part, from 0.</param>
    /// <param name="parts">How many there are.</param>
    /// <returns>Its sequences, as wide as the batch; the parts differ by one sequence at most, so a part may be empty.</returns>
    TBatch PartOf(TBatch batch, int part, int parts);
}

/// <summary>One number that an objective measures.</summary>
/// <param name="Name">Its name in logs, snake_case.</param>
/// <param name="IsPartOfLoss">Whether it is a term of what is minimised.</param>
/// <param name="IsWatched">Whether it is shown beside the loss while a run goes on, and drawn in its report.</param>
public sealed record Measurement(string Name, bool IsPartOfLoss = false, bool IsWatched = false);

/// <summary>What a forward pass gave.</summary>
/// <param name="Loss">[]: what the backward pass begins at.</param>
/// <param name="Measured">[] each: means over the micro-batch, without gradient.</param>
public sealed record ObjectiveResult(Tensor Loss, ImmutableArray<Tensor> Measured);

/// <summary>The size of a micro-batch.</summary>
/// <param name="Positions">Token positions that the model computes, padding included.</param>
/// <param name="Terms">Terms that the loss is a mean of: tokens of language models, pairs of preferences.</param>
/// <param name="Targets">Tokens that are learnt from.</param>
/// <param name="Origin">Where its first text lies, for messages.</param>
public readonly record struct BatchSize(int Positions, int Terms, int Targets, string Origin);
