using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuBatchTests
{
    const int Length = 4, Tokens = 8;

    static readonly int[] Inputs = [5, 3, 5, 0, 1, 1, 3, 2], Targets = [3, 5, 0, 9, 1, 3, 2, 9];

    [Fact]
    public void A_batch_of_whole_sequences()
    {
        int[] all = Filled(positions: null);
        Assert.Equal(Inputs, all[..Tokens]);
        Assert.Equal(Targets, all[Tokens..(2 * Tokens)]);
        Assert.Equal([0, 1, 2, 3, 0, 1, 2, 3], all[(2 * Tokens)..(3 * Tokens)]);
        Assert.Equal([4, 5, 7, 1, 6, 0, 2], all[(3 * Tokens)..][..7]);           // tokens of the ids 1, 2, 3 and 5; 0 is padding
        Assert.Equal([1, 2, 3, 5], all[(4 * Tokens)..][..4]);
        Assert.Equal([0, 2, 3, 5, 7], all[(5 * Tokens)..][..5]);
        Assert.Equal(4, all[(7 * Tokens) + 2]);
        Assert.Equal([0.5f, 0.25f], all[((7 * Tokens) + 3)..].Select(BitConverter.Int32BitsToSingle));
    }

    [Fact]
    public void Records_begin_where_positions_do_and_with_each_sequence()
    {
        int[] positions = [0, 0, 1, 2, 0, 1, 0, 1], all = Filled(positions);
        Assert.Equal(positions, all[(2 * Tokens)..(3 * Tokens)]);
        Assert.Equal([0, 1, 4, 6, Tokens], all[((6 * Tokens) + 1)..][..5]);
    }

    static int[] Filled(int[]? positions)
    {
        var order = new EmbeddingOrder(vocab: 10, Tokens);
        order.Sort(Inputs, paddingId: 0);
        int[] all = new int[GpuBatch.CountOf(Tokens)];
        GpuBatch.Fill(all, Length, Inputs, Targets, positions, positions is null ? [] : SequenceLayout.SegmentsOf(positions, Length), order, 0.5f, 0.25f);
        return all;
    }
}
