using OpenElm.Data;
using OpenElm.Distributed;

namespace OpenElm.Training.Distributed;

/// <summary>
/// A rank's part of every update. The configuration says the sequences of an update, <c>micro_batch · accumulation</c>, for any number of ranks: they
/// share its micro-batches, or, where there are more ranks than those, the sequences of each micro-batch.
/// </summary>
/// <param name="Slice">Which micro-batches of the global order.</param>
/// <param name="Passes">Micro-batches of this rank in an update.</param>
/// <param name="Part">Which part of each micro-batch.</param>
/// <param name="Parts">Ranks that share a micro-batch.</param>
internal readonly record struct RankShare(DataSlice Slice, int Passes, int Part, int Parts)
{
    /// <summary>The share of a process that is alone.</summary>
    public static RankShare Alone(TrainerConfig trainer) => new(DataSlice.Whole, trainer.Accumulation, 0, 1);

    /// <summary>Divides an update.</summary>
    /// <param name="group">The ranks; null is a single one.</param>
    /// <param name="trainer">The update.</param>
    /// <exception cref="OpenElmException">It cannot be divided evenly.</exception>
    public static RankShare Of(IProcessGroup? group, TrainerConfig trainer)
    {
        if (group is null)
        {
            return Alone(trainer);
        }

        (int ranks, int passes) = (group.Size, trainer.Accumulation);
        if (passes % ranks == 0)
        {
            return new(new DataSlice(group.Rank, ranks), passes / ranks, 0, 1);
        }

        int parts = ranks / passes;
        return ranks % passes == 0 && trainer.MicroBatch % parts == 0
            ? new(new DataSlice(group.Rank / parts, passes), 1, group.Rank % parts, parts)
            : throw new OpenElmException(
                $"An update of {passes} micro-batches (trainer.accumulation) of {trainer.MicroBatch} sequences (trainer.micro_batch) cannot be divided evenly among {ranks} ranks; start a number that divides trainer.accumulation, or trainer.accumulation times a divisor of trainer.micro_batch.");
    }
}
