using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>The products of every kernel set with every kind of tile, on odd shapes, against plain loops.</summary>
public sealed unsafe class TileProductTests
{
    static readonly int[] Rows = [1, 15, 16, 17, 40, 100];
    static readonly int[] Sequences = [1, 2, 3, 4, 5, 7, 8, 9, 13, 25];

    public static TheoryData<string, DType> Cases => [.. from set in CpuKernels.Available from dtype in RandomTiles.StoredTypes select (set.Name, dtype)];

    public static TheoryData<string> Sets => [.. CpuKernels.Available.Select(set => set.Name)];

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_agrees_with_the_reference(string name, DType dtype)
    {
        TileProducts products = CpuKernels.Get(name).Products;
        foreach (int rows in Rows)
        {
            foreach (int blocks in new[] { 1, 2, 3, 5 })
            {
                int columns = dtype.IsBlocked() ? blocks * dtype.BlockElements() : (blocks * 13) - 4;
                using var random = new RandomTiles((rows * 1000) + blocks);
                TileMatrix weight = random.Pack(random.Stored(dtype, rows, columns));
                foreach (int seq in Sequences)
                {
                    float[] x = random.Floats(seq, columns);
                    foreach (bool add in new[] { false, true })
                    {
                        float[] expected = Reference(products, random, weight, x, seq, add), actual = Product(products, random, weight, x, seq, 0, weight.Tiles, add);

                        // Integer sums are exact and floats are added in one order, so every set has the same bits; pairs of bfloat16 may be rounded differently.
                        Close.Assert(expected, actual, weight.Format == TileFormat.BF16 && products.BFloat16Form == ActivationForm.BF16 ? 3e-6 * columns : 0);
                    }
                }
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_token_gets_the_same_bits_alone_in_a_batch_and_in_a_part_of_the_tiles(string name, DType dtype)
    {
        TileProducts products = CpuKernels.Get(name).Products;
        const int Outputs = 100, Seq = 27;
        int columns = dtype.IsBlocked() ? 3 * dtype.BlockElements() : 77;
        using var random = new RandomTiles(7);
        TileMatrix weight = random.Pack(random.Stored(dtype, Outputs, columns));
        float[] x = random.Floats(Seq, columns);
        int width = weight.Tiles * TileFormats.Rows;
        float[] batch = Product(products, random, weight, x, Seq, 0, weight.Tiles, add: false);
        for (int t = 0; t < Seq; t++)
        {
            float[] alone = Product(products, random, weight, x[(t * columns)..((t + 1) * columns)], 1, 0, weight.Tiles, add: false);
            Assert.Equal(batch[(t * width)..((t + 1) * width)], alone);
        }

        for (int tile = 0; tile < weight.Tiles; tile++)
        {
            float[] part = Product(products, random, weight, x, Seq, tile, Math.Min(weight.Tiles, tile + 2), add: false);
            for (int i = 0; i < part.Length; i++)
            {
                // Other columns keep what they held.
                Assert.Equal(i % width / TileFormats.Rows is var at && at >= tile && at < tile + 2 ? batch[i] : 42, part[i]);
            }
        }
    }

    [Theory, MemberData(nameof(Sets))]
    public void Float_products_take_any_strides(string name)
    {
        FloatProductKernel kernel = CpuKernels.Get(name).Products.Floats;
        foreach ((int length, int tiles, int rows) in new[] { (1, 1, 1), (7, 1, 3), (64, 4, 1), (64, 4, 9), (33, 5, 17), (128, 2, 30), (16, 7, 6) })
        {
            foreach ((long wStride, long tileStride) in new[] { (16L, 16L * length), (16L * tiles, 16L), ((16L * tiles) + 16, 16L) })
            {
                using var random = new RandomTiles(length + tiles);
                float[] w = random.Floats(1, (int)((wStride * length) + (tileStride * tiles) + 16)), x = random.Floats(rows, length + 5);
                foreach (bool add in new[] { false, true })
                {
                    float[] expected = Initial(rows * ((tiles * 16) + 16)), actual = [.. expected];
                    fixed (float* from = w, by = x, first = expected, second = actual)
                    {
                        ReferenceKernels.Products.Floats(from, wStride, tileStride, tiles, by, length + 5, rows, length, first, (tiles * 16) + 16, add);
                        kernel(from, wStride, tileStride, tiles, by, length + 5, rows, length, second, (tiles * 16) + 16, add);
                    }

                    Assert.Equal(expected, actual);
                }
            }
        }
    }

    // The reference, on the numbers that the set's own form of the activations stands for.
    static float[] Reference(TileProducts set, RandomTiles random, TileMatrix weight, float[] x, int seq, bool add)
    {
        if (set.FormFor(weight.Format) == ActivationForm.BF16)
        {
            x = [.. x.Select(value => BitConverter.UInt32BitsToSingle((uint)FloatEncoding.ToBFloat16(value) << 16))];
        }

        return Product(ReferenceKernels.Products, random, weight, x, seq, 0, weight.Tiles, add);
    }

    static float[] Product(TileProducts set, RandomTiles random, TileMatrix weight, float[] x, int seq, int firstTile, int endTile, bool add)
    {
        ActivationRows activations = random.Activations(x, seq, weight.Columns, set.FormFor(weight.Format), weight.Format);
        int width = weight.Tiles * TileFormats.Rows;
        float[] y = add ? Initial(seq * width) : [.. Enumerable.Repeat(42f, seq * width)];
        fixed (float* result = y)
        {
            set.MatMul(weight, firstTile, endTile, activations, seq, result, width, add);
        }

        return y;
    }

    static float[] Initial(int length) => [.. Enumerable.Range(0, length).Select(i => (i % 13) - 6.25f)];
}
