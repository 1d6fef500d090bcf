using OpenElm.Data;

namespace OpenElm.Training.Distributed;

/// <summary>A rank's slice of batches that every rank can make: those of the others are made and passed over, which costs little for examples in memory.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
/// <param name="all">All batches; taken over.</param>
/// <param name="slice">Which of them.</param>
internal sealed class SlicedBatches<TBatch>(IBatchSource<TBatch> all, DataSlice slice) : IBatchSource<TBatch>
{
    /// <summary>Behind the batches of all ranks' last round: the same on every rank.</summary>
    public IDataPosition Position => all.Position;

    /// <inheritdoc/>
    public TimeSpan Waited => all.Waited;

    /// <inheritdoc/>
    public TBatch Next(CancellationToken cancel = default)
    {
        TBatch[] round = [.. Enumerable.Range(0, slice.World).Select(_ => all.Next(cancel))];
        return round[slice.Rank];
    }

    /// <inheritdoc/>
    public void Dispose() => all.Dispose();
}
