using OpenElm.Training.Distributed;

namespace OpenElm.Training.Tests.Distributed;

/// <summary>How ranks share an update, and how a unit's memory is divided.</summary>
public sealed class RankShareTests
{
    [Theory]
    [InlineData(1, 4, 8)]
    [InlineData(2, 4, 8)]
    [InlineData(4, 4, 8)]
    [InlineData(8, 4, 8)]
    [InlineData(32, 4, 8)]
    [InlineData(6, 6, 5)]
    public void Every_sequence_of_an_update_belongs_to_one_rank(int ranks, int accumulation, int microBatch)
    {
        var trainer = new TrainerConfig { Accumulation = accumulation, MicroBatch = microBatch };
        var sequences = Enumerable.Range(0, ranks).Select(rank => RankShare.Of(new FakeGroup(rank, ranks), trainer)).SelectMany(share =>
            from pass in Enumerable.Range(0, share.Passes)
            let batch = share.Slice.Rank + (pass * share.Slice.World)
            from row in Enumerable.Range(microBatch * share.Part / share.Parts, microBatch / share.Parts)
            select (batch, row));
        Assert.Equal(from batch in Enumerable.Range(0, accumulation) from row in Enumerable.Range(0, microBatch) select (batch, row), sequences.Order());
    }

    [Theory]
    [InlineData(3, 4, 8)]
    [InlineData(12, 4, 8)]
    [InlineData(64, 4, 8)]
    public void Ranks_that_do_not_fit_are_refused(int ranks, int accumulation, int microBatch) =>
        Assert.Throws<OpenElmException>(() => RankShare.Of(new FakeGroup(0, ranks), new TrainerConfig { Accumulation = accumulation, MicroBatch = microBatch }));

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(8)]
    public void Parts_of_a_unit_are_equal_and_hold_every_element_once(int ranks)
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        foreach (FlatUnit unit in FlatUnit.Of(module.Trainable, ranks))
        {
            Assert.Equal(unit.Length, unit.PartLength * ranks);
            foreach (FlatPiece piece in unit.Pieces)
            {
                var ranges = Enumerable.Range(0, ranks).SelectMany(rank => unit.Within(rank * unit.PartLength, unit.PartLength)
                    .Where(part => part.Piece == piece).Select(part => (Begin: (rank * unit.PartLength) + part.Start, part.Count))).ToArray();
                Assert.Equal(piece.Offset, ranges[0].Begin);
                Assert.Equal(piece.Count, ranges.Sum(range => range.Count));
                Assert.All(ranges.Zip(ranges.Skip(1)), pair => Assert.Equal(pair.First.Begin + pair.First.Count, pair.Second.Begin));
            }
        }

        Assert.Equal([0, 1, 2, null], FlatUnit.Of(module.Trainable, ranks).Select(unit => unit.Layer));
    }
}
