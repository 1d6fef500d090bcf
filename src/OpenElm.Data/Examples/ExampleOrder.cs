using System.Collections.Immutable;
using OpenElm.Data.Sharding;

namespace OpenElm.Data.Examples;

/// <summary>
/// Which examples stand in which batch: for each epoch a pure function of the examples' lengths, the settings and the seed.
/// A batch is a list of rows, a row a list of examples by number.
/// </summary>
/// <param name="positions">Positions of each example.</param>
/// <param name="batching">How examples become batches.</param>
/// <param name="rowLength">Positions of a packed row.</param>
/// <param name="microBatch">Rows of a batch; the last of an epoch may have fewer.</param>
/// <param name="seed">Seed of the shuffles; null keeps the order of the files.</param>
internal sealed class ExampleOrder(ImmutableArray<int> positions, ExampleBatching batching, int rowLength, int microBatch, int? seed)
{
    const int GroupedBatches = 50;  // batches whose examples are sorted together
    const int OpenRows = 128;       // rows that a packed example may still go into

    /// <summary>What decides the order besides the examples, in words.</summary>
    public string Settings =>
        $"batching {batching}, sequence length {rowLength}, micro batch {microBatch}, {(seed is null ? "not shuffled" : $"shuffled with seed {seed}")}".ToLowerInvariant();

    /// <summary>The batches of an epoch.</summary>
    /// <param name="epoch">The epoch, from 0.</param>
    public int[][][] Batches(int epoch)
    {
        int[] order = [.. Enumerable.Range(0, positions.Length)];
        StableRandom? random = seed is { } s ? new StableRandom(s, epoch) : null;
        random?.Shuffle<int>(order);
        switch (batching)
        {
            case ExampleBatching.Packing:
                return [.. Pack(order).Chunk(microBatch)];
            case ExampleBatching.Grouping:
                int[][][] batches = [.. order.Chunk(GroupedBatches * microBatch)
                    .SelectMany(part => part.OrderByDescending(example => positions[example]).Select(example => new[] { example }).Chunk(microBatch))];
                random?.Shuffle<int[][]>(batches);
                return batches;
            default:
                return [.. order.Select(example => new[] { example }).Chunk(microBatch)];
        }
    }

    // First fit: each example goes into the oldest open row with room for it.
    IEnumerable<int[]> Pack(int[] order)
    {
        var open = new List<(List<int> Examples, int Free)>();
        foreach (int example in order)
        {
            int row = open.FindIndex(entry => entry.Free >= positions[example]);
            if (row < 0)
            {
                if (open.Count == OpenRows)
                {
                    yield return [.. open[0].Examples];
                    open.RemoveAt(0);
                }

                row = open.Count;
                open.Add(([], rowLength));
            }

            open[row].Examples.Add(example);
            open[row] = (open[row].Examples, open[row].Free - positions[example]);
        }

        foreach ((List<int> examples, _) in open)
        {
            yield return [.. examples];
        }
    }
}
