using System.Globalization;
using System.Numerics;
using OpenElm.Evaluation.Sampling;

namespace OpenElm.Evaluation.Tests.Sampling;

/// <summary>
/// Expected values are CPython 3.11's, for example
/// <c>/usr/bin/python3 -c "import random; r = random.Random(1234); print(r.sample(range(278), 25), r.getrandbits(32))"</c>.
/// </summary>
public sealed class MersenneTwisterTests
{
    [Theory]
    [InlineData("42", 2746317213, 478163327, 107420369)]
    [InlineData("0", 3626764237, 1654615998, 3255389356)]
    [InlineData("1234", 4150886329, 3342196574, 1892932127)]
    [InlineData("4294967296", 485306839, 1508871100, 1794561286)]
    [InlineData("18446744073709551621", 2192917427, 3085273184, 3778534651)]
    [InlineData("-7", 1390851128, 4071050724, 647892279)]
    public void Bits_equal_python(string seed, uint first, uint second, uint third)
    {
        var random = new MersenneTwister(BigInteger.Parse(seed, CultureInfo.InvariantCulture));
        Assert.Equal([first, second, third], [random.NextUInt32(), random.NextUInt32(), random.NextUInt32()]);
    }

    [Fact]
    public void Doubles_equal_python() // random.Random(42), after five getrandbits(32)
    {
        var random = new MersenneTwister(42);
        for (int i = 0; i < 5; i++)
        {
            random.NextUInt32();
        }

        Assert.Equal([0.24489185380347622, 0.1395379285251439, 0.1024951761715075], [random.NextDouble(), random.NextDouble(), random.NextDouble()]);
    }

    [Fact]
    public void Refills_equal_python() // r = random.Random(5489); [r.getrandbits(32) for _ in range(10000)][-1]
    {
        var random = new MersenneTwister(5489);
        uint last = 0;
        for (int i = 0; i < 10_000; i++)
        {
            last = random.NextUInt32();
        }

        Assert.Equal(TenThousandth, last);
    }

    [Fact]
    public void Shuffling_equals_python() // r = random.Random(42); x = list(range(10)); r.shuffle(x)
    {
        int[] items = [.. Enumerable.Range(0, 10)];
        new MersenneTwister(42).Shuffle<int>(items);
        Assert.Equal([7, 3, 2, 8, 5, 6, 9, 4, 0, 1], items);
    }

    // The last number is the next getrandbits(32): a sample must leave the generator where Python does.
    [Theory]
    [InlineData(10, 3, new[] { 7, 1, 0 }, 389311301)]
    [InlineData(21, 5, new[] { 14, 3, 0, 2, 1 }, 2884343186)]
    [InlineData(22, 5, new[] { 14, 3, 0, 2, 18 }, 150006740)]
    [InlineData(100, 25, new[] { 99, 56, 14, 0, 11, 74, 4, 85, 88, 10, 12, 45, 30, 2, 3, 86, 44, 82, 79, 61, 78, 59, 19, 95, 23 }, 3064073136)]
    [InlineData(277, 25, new[] { 225, 59, 3, 46, 17, 42, 50, 181, 121, 8, 15, 267, 177, 247, 237, 76, 273, 93, 58, 7, 249, 127, 16, 170, 138 }, 3918363701)]
    [InlineData(278, 25, new[] { 225, 59, 3, 46, 17, 42, 50, 181, 121, 8, 15, 177, 247, 237, 76, 93, 58, 7, 257, 249, 127, 33, 277, 238, 35 }, 2583265852)]
    [InlineData(2251, 25, new[] { 1805, 478, 30, 371, 143, 343, 403, 1452, 969, 71, 126, 64, 1417, 1983, 1898, 608, 373, 749, 468, 59, 2060, 1993, 1023, 264, 2216 }, 3918363701)]
    [InlineData(1000, 6, new[] { 989, 796, 451, 119, 7, 92 }, 3912611952)]
    [InlineData(85, 6, new[] { 56, 14, 0, 11, 74, 4 }, 2884343186)]
    public void Samples_equal_python(int population, int count, int[] expected, uint next)
    {
        var random = new MersenneTwister(1234);
        Assert.Equal(expected, random.Sample(population, count));
        Assert.Equal(next, random.NextUInt32());
    }

    const uint TenThousandth = 2375762794;
}
