using System.Collections.Concurrent;
using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Kernels.Vectors;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>The products of every kernel set with every kind of tile, on odd shapes, against plain loops.</summary>
public sealed unsafe class TileProductTests
{
    const int Seq = 25;

    static readonly ConcurrentDictionary<(DType, bool), Lazy<ImmutableArray<Case>>> Expected = [];

    public static TheoryData<string, DType> Cases => [.. from name in Names from dtype in RandomTiles.StoredTypes select (name, dtype)];

    public static TheoryData<string> Sets => [.. Names];

    // Portable vectors also where the processor has none: then every step takes its way for unknown processors.
    static IEnumerable<string> Names => CpuKernels.Available.Select(set => set.Name).Union(["vector128"]);

    [Theory, MemberData(nameof(Cases))]
    public void MatMul_agrees_with_the_reference(string name, DType dtype)
    {
        TileProducts products = Named(name);
        bool pairs = products.FormFor(TileFormats.Of(dtype)) == ActivationForm.BF16;
        foreach (Case sample in Expected.GetOrAdd((dtype, pairs), _ => new(() => [.. Samples(dtype, pairs)])).Value)
        {
            using var random = new RandomTiles(sample.Seed);
            TileMatrix weight = random.Pack(random.Stored(dtype, sample.Rows, sample.Columns, sample.Every));
            foreach (int seq in new[] { 1, 2, 3, 4, 5, 7, 8, 9, 13, Seq })
            {
                foreach ((bool add, float[] expected) in new[] { (false, sample.Product), (true, sample.Sum) })
                {
                    int length = seq * weight.Tiles * TileFormats.Rows;
                    float[] actual = Product(products, random, weight, sample.X[..(seq * sample.Columns)], seq, 0, weight.Tiles, add);

                    // Integer sums are exact and floats are added in one order, so every set has the same bits; pairs of bfloat16 may be rounded differently.
                    Close.Assert(expected.AsSpan(0, length), actual, pairs ? 3e-6 * sample.Columns : 0);
                }
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_token_gets_the_same_bits_alone_in_a_batch_and_in_a_part_of_the_tiles(string name, DType dtype)
    {
        TileProducts products = Named(name);
        const int Outputs = 100;
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
        FloatProductKernel kernel = Named(name).Floats;
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

    [Fact]
    public void Products_of_bfloat16_pairs_take_any_strides()
    {
        PairProductKernel? kernel = CpuKernels.Available.Select(set => set.Products.Pairs).FirstOrDefault(pairs => pairs is not null);
        Assert.SkipWhen(kernel is null, "No kernel set of this machine multiplies bfloat16.");
        foreach ((int pairs, int tiles, int rows) in new[] { (1, 1, 1), (7, 1, 3), (32, 4, 1), (32, 4, 64), (17, 5, 17), (24, 6, 30), (8, 7, 6) })
        {
            foreach ((int wStride, int tileStride) in new[] { (32, 32 * pairs), (32 * tiles, 32), ((32 * tiles) + 32, 32) })
            {
                using var random = new RandomTiles(pairs + tiles);
                int xStride = (2 * pairs) + 6, yStride = (tiles * 16) + 16;
                ushort[] w = Rounded(random.Floats(1, (wStride * pairs) + (tileStride * tiles) + 32)), x = Rounded(random.Floats(rows, xStride));
                float[] begin = Initial(rows * yStride), actual = [.. begin];
                bool add = rows % 2 == 1;
                fixed (ushort* from = w, by = x)
                fixed (float* to = actual)
                {
                    kernel!(from, wStride, tileStride, tiles, by, xStride, rows, pairs, to, yStride, add);
                }

                for (int t = 0; t < rows; t++)
                {
                    for (int i = 0; i < tiles * 16; i++)
                    {
                        double sum = add ? begin[(t * yStride) + i] : 0, size = Math.Abs(sum);
                        for (int k = 0; k < 2 * pairs; k++)
                        {
                            double product = (double)Float(x[(t * xStride) + k]) * Float(w[(k / 2 * wStride) + (i / 16 * tileStride) + (i % 16 * 2) + (k % 2)]);
                            (sum, size) = (sum + product, size + Math.Abs(product));
                        }

                        Assert.Equal(sum, actual[(t * yStride) + i], 1e-6 * size);
                    }

                    Assert.Equal(begin[(t * yStride) + (tiles * 16)], actual[(t * yStride) + (tiles * 16)]);
                }
            }
        }

        static ushort[] Rounded(float[] x) => [.. x.Select(FloatEncoding.ToBFloat16)];

        static float Float(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
    }

    static TileProducts Named(string name) => name == "vector128" ? VectorKernels.Vector128 : CpuKernels.Get(name).Products;

    // Products of the reference, computed once for all sets: odd numbers of rows and columns, and the largest numbers that a format holds.
    static IEnumerable<Case> Samples(DType dtype, bool pairs)
    {
        int[] columns = !dtype.IsBlocked() ? [9, 22, 35, 263] : dtype.BlockElements() == 256 ? [256, 768] : [64, 128, 192, 576];
        foreach ((int rows, int column, byte? every) in new (int, int, byte?)[]
            { (1, columns[0], null), (17, columns[1], null), (40, columns[^1], null), (100, columns[0], null), (16, columns[^1], 0), (16, columns[^1], 0xFF), (16, columns[^1], 0x7F), (16, columns[^1], 0x80) })
        {
            int seed = (rows * 1000) + column;
            using var random = new RandomTiles(seed);
            TileMatrix weight = random.Pack(random.Stored(dtype, rows, column, every));
            float[] x = every is null ? random.Floats(Seq, column) : [.. Enumerable.Range(0, Seq * column).Select(i => i / column % 2 == 0 ? 1f : -1f)];
            yield return new Case(seed, rows, column, every, x, Reference(false), Reference(true));

            // On the numbers that the set's own form of the activations stands for.
            float[] Reference(bool add) => Product(
                ReferenceKernels.Products, random, weight,
                pairs ? [.. x.Select(value => BitConverter.UInt32BitsToSingle((uint)FloatEncoding.ToBFloat16(value) << 16))] : x, Seq, 0, weight.Tiles, add);
        }
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

    sealed record Case(int Seed, int Rows, int Columns, byte? Every, float[] X, float[] Product, float[] Sum);
}
