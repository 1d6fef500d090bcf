using CsCheck;
using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class EmbeddingOrderTests
{
    const int Vocab = 9;

    [Fact]
    public void Each_id_that_occurs_has_its_tokens_in_order_and_padding_has_none() =>
        Gen.Select(Gen.Int[0, Vocab - 1].Array[1, 40], Gen.Int[-1, Vocab - 1]).Sample((ids, padding) =>
        {
            var order = new EmbeddingOrder(Vocab, ids.Length);
            order.Sort([.. ids.Reverse()], paddingId: null); // what an earlier batch left must not matter
            order.Sort(ids, padding < 0 ? null : padding);

            var expected = ids.Index().Where(token => token.Item != padding).GroupBy(token => token.Item, token => token.Index).OrderBy(group => group.Key).ToArray();
            Assert.Equal(expected.Length, order.Distinct);
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.Equal(expected[i].Key, order.Ids[i]);
                Assert.Equal(expected[i], order.Order[order.Starts[i]..order.Starts[i + 1]]);
            }
        });
}
