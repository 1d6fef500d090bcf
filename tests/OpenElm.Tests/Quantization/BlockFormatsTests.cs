using CsCheck;
using OpenElm.Checkpoints;
using OpenElm.Quantization;

namespace OpenElm.Tests.Quantization;

public sealed class BlockFormatsTests
{
    const int Columns = 256;

    // Two steps of a block that spans [−1, 1]: half a step of rounding, and what the smallest sum of squares may clip or, in the
    // K formats, lose to scales of 6 bits.
    static readonly Dictionary<DType, float> LargestErrors = new()
    {
        [DType.Q4_0] = 2 / 7.5f,
        [DType.Q4_1] = 2 / 7.5f,
        [DType.Q5_0] = 2 / 15.5f,
        [DType.Q5_1] = 2 / 15.5f,
        [DType.Q8_0] = 2 / 127f,
        [DType.Q4_K] = 2 / 7.5f,
        [DType.Q5_K] = 2 / 15.5f,
        [DType.Q6_K] = 2 / 31.5f,
        [DType.Affine4x32] = 2 / 7.5f,
        [DType.Affine4x64] = 2 / 7.5f,
        [DType.Affine8x32] = 2 / 127.5f,
        [DType.Affine8x64] = 2 / 127.5f,
    };

    public static TheoryData<DType> Formats => [.. LargestErrors.Keys];

    [Theory, MemberData(nameof(Formats))]
    public void Errors_stay_within_two_steps(DType dtype) => Gen.Float[-1, 1].Array[Columns].Sample(x =>
    {
        float[] y = RoundTrip(dtype, x);
        return Enumerable.Range(0, Columns).All(i => MathF.Abs(x[i] - y[i]) <= LargestErrors[dtype]);
    }, iter: 300);

    [Theory, MemberData(nameof(Formats))]
    public void What_was_read_is_written_back_without_loss(DType dtype)
    {
        // K formats choose scales of scales anew, and a coarsely rounded bias of 255 steps may leave the grid: the second time
        // costs next to nothing, but not always nothing.
        double allowed = dtype is DType.Q4_K or DType.Q5_K or DType.Q6_K or DType.Affine8x32 or DType.Affine8x64 ? 0.25 : 0;
        foreach (float size in new[] { 1f, 0.03f, 200f })
        {
            float[] x = Normal(16 * Columns, seed: 3, size);
            float[] once = RoundTrip(dtype, x), twice = RoundTrip(dtype, once);

            Assert.InRange(Math.Sqrt(Error(once, twice) / Error(x, once)), 0, allowed);
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Zeros_stay_zeros(DType dtype) => Assert.All(RoundTrip(dtype, new float[Columns]), value => Assert.Equal(0, value));

    [Theory, MemberData(nameof(Formats))]
    public void Constant_blocks_keep_their_value(DType dtype)
    {
        foreach (float value in new[] { 1f, -1f, 0.1f, -0.3f, 1000f, 0.02f })
        {
            // Half precision has 11 bits and affine groups use 8; K formats multiply it by 6 or 8 bits, subnormal at the small end.
            float allowed = MathF.Abs(value) / (dtype is DType.Q4_K or DType.Q5_K or DType.Q6_K ? 300 : dtype >= DType.Affine4x32 ? 256 : 2048);
            Assert.All(RoundTrip(dtype, [.. Enumerable.Repeat(value, Columns)]), actual => Assert.InRange(actual, value - allowed, value + allowed));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Tiny_and_largest_numbers_give_finite_ones_near_them(DType dtype)
    {
        foreach (float size in new[] { float.Epsilon, 1e-38f, 1e-20f, 1e-8f, 1e-6f, BlockFormats.LargestWeight })
        {
            float[] x = [.. Enumerable.Range(0, Columns).Select(i => size * (i % 2 == 0 ? 1 : -1) * (i % 37 + 1) / 37f)];

            Assert.All(RoundTrip(dtype, x).Zip(x), pair => Assert.InRange(pair.First, pair.Second - size, pair.Second + size));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void What_cannot_be_stored_is_refused(DType dtype)
    {
        foreach (float value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity, 65536f, -1e9f })
        {
            float[] x = new float[Columns];
            x[77] = value;
            var e = Assert.Throws<OpenElmException>(() => RoundTrip(dtype, x));
            Assert.Equal($"A weight is {value}; {dtype} takes finite ones up to 65504.", e.Message);
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Importance_lowers_the_error_where_it_counts(DType dtype)
    {
        const int rows = 32;
        float[] x = Normal(rows * Columns, seed: 5, 0.05f);
        var random = new Random(6);
        float[] importance = [.. Enumerable.Range(0, Columns).Select(_ => MathF.Exp((6 * random.NextSingle()) - 3))];
        float[] plain = RoundTrip(dtype, x), weighted = RoundTrip(dtype, x, importance);

        double before = Error(x, plain, importance), after = Error(x, weighted, importance);
        Assert.True(after < 0.9 * before, $"{dtype}: weighted squared error {after:E3}, without importance {before:E3}.");
        Assert.True(Error(x, weighted) >= Error(x, plain), "The plain error cannot gain from counting columns differently.");
    }

    [Theory, MemberData(nameof(Formats))]
    public void Importance_of_nothing_counts_as_none(DType dtype)
    {
        float[] x = Normal(2 * Columns, seed: 8, 1);

        Assert.Equal(RoundTrip(dtype, x), RoundTrip(dtype, x, new float[Columns]));
    }

    // Any bits are a block; the format reads one element after the other.
    [Theory, MemberData(nameof(Formats))]
    public void Many_blocks_are_read_as_each_alone_bit_for_bit(DType dtype)
    {
        const int elements = 16 * Columns;
        (int bytes, int width) = (dtype.BlockBytes(), dtype.BlockElements());
        byte[] blocks = new byte[elements / width * bytes];
        new Random(9).NextBytes(blocks);
        float[] all = new float[elements], alone = new float[elements];
        BlockFormats.Dequantize(dtype, blocks, all);
        for (int block = 0; block < elements / width; block++)
        {
            BlockFormats.FormatOf(dtype).Dequantize(blocks.AsSpan(block * bytes, bytes), alone.AsSpan(block * width, width));
        }

        Assert.Equal(alone.Select(Bits), all.Select(Bits));

        static int Bits(float value) => float.IsNaN(value) ? -1 : BitConverter.SingleToInt32Bits(value); // which NaN is no matter
    }

    [Fact]
    public void Lengths_must_fit()
    {
        Assert.Throws<ArgumentException>(() => BlockFormats.Quantize(DType.Q4_0, new float[33], new byte[18]));
        Assert.Throws<ArgumentException>(() => BlockFormats.Quantize(DType.Q4_0, new float[64], new byte[18]));
        Assert.Throws<ArgumentException>(() => BlockFormats.Quantize(DType.Q4_0, new float[96], new byte[54], new float[64]));
        Assert.Throws<ArgumentException>(() => BlockFormats.Dequantize(DType.Q6_K, new byte[211], new float[256]));
        Assert.Throws<ArgumentOutOfRangeException>(() => BlockFormats.Dequantize(DType.F32, new byte[4], new float[1]));
    }

    internal static float[] RoundTrip(DType dtype, float[] x, float[]? importance = null)
    {
        byte[] blocks = new byte[x.Length / dtype.BlockElements() * dtype.BlockBytes()];
        float[] y = new float[x.Length];
        BlockFormats.Quantize(dtype, x, blocks, importance);
        BlockFormats.Dequantize(dtype, blocks, y);
        return y;
    }

    internal static float[] Normal(int count, int seed, float size)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(size * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }

    internal static double Error(float[] x, float[] y, float[]? importance = null) =>
        x.Zip(y, (a, b) => ((double)a - b) * ((double)a - b)).Select((square, i) => square * (importance?[i % importance.Length] ?? 1)).Sum();
}
