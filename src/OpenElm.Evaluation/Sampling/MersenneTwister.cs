using System.Collections.Immutable;
using System.Numerics;

namespace OpenElm.Evaluation.Sampling;

/// <summary>
/// Python's <c>random.Random(seed)</c>: MT19937 seeded by <c>init_by_array</c>, and CPython's rules for drawing from it. Few-shot examples of
/// lm-evaluation-harness are drawn with it, so numbers compare with published ones only where every draw is the same.
/// </summary>
internal sealed class MersenneTwister
{
    const int Words = 624, Middle = 397;
    const uint UpperMask = 0x80000000, LowerMask = 0x7fffffff, Twist = 0x9908b0df;

    readonly uint[] _state = new uint[Words];
    int _next = Words;

    /// <summary>A generator as <c>random.Random(seed)</c>.</summary>
    /// <param name="seed">Any whole number; Python drops its sign.</param>
    public MersenneTwister(BigInteger seed)
    {
        byte[] bytes = BigInteger.Abs(seed).ToByteArray(isUnsigned: true);
        uint[] key = new uint[Math.Max(1, (bytes.Length + 3) / 4)];
        for (int i = 0; i < bytes.Length; i++)
        {
            key[i / 4] |= (uint)bytes[i] << (8 * (i % 4));
        }

        Seed(key);
    }

    /// <summary>The next 32 bits.</summary>
    /// <returns>All values are equally likely.</returns>
    public uint NextUInt32()
    {
        if (_next == Words)
        {
            Refill();
        }

        uint y = _state[_next++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680;
        y ^= (y << 15) & 0xefc60000;
        return y ^ (y >> 18);
    }

    /// <summary>Python's <c>random()</c>: 53 bits in [0, 1).</summary>
    /// <returns>The number.</returns>
    public double NextDouble()
    {
        uint high = NextUInt32() >> 5, low = NextUInt32() >> 6;
        return ((high * 67108864.0) + low) / 9007199254740992.0;
    }

    /// <summary>Python's <c>randrange(bound)</c>: draws as many bits as the bound has, again and again until they are below it.</summary>
    /// <param name="bound">More than 0.</param>
    /// <returns>A number in [0, bound).</returns>
    public int NextBelow(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bound);
        int shift = BitOperations.LeadingZeroCount((uint)bound);
        uint drawn;
        do
        {
            drawn = NextUInt32() >> shift;
        }
        while (drawn >= bound);
        return (int)drawn;
    }

    /// <summary>Python's <c>shuffle</c>.</summary>
    /// <typeparam name="T">Of the items.</typeparam>
    /// <param name="items">Brought into a new order.</param>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int other = NextBelow(i + 1);
            (items[i], items[other]) = (items[other], items[i]);
        }
    }

    /// <summary>Python's <c>sample(range(population), count)</c>.</summary>
    /// <param name="population">How many there are.</param>
    /// <param name="count">How many are drawn, at most all.</param>
    /// <returns>Positions, all different, in the order in which they are drawn.</returns>
    public ImmutableArray<int> Sample(int population, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, population);
        return UsesPool(population, count) ? SampleFromPool(population, count) : SampleWithMemory(population, count);
    }

    // CPython copies a population that takes less room than the set of what was drawn, and the two ways draw differently.
    static bool UsesPool(int population, int count)
    {
        double setSize = 21;
        if (count > 5)
        {
            setSize += Math.Pow(4, Math.Ceiling(Math.Log(count * 3.0) / Math.Log(4)));
        }

        return population <= setSize;
    }

    ImmutableArray<int> SampleFromPool(int population, int count)
    {
        int[] pool = [.. Enumerable.Range(0, population)];
        var drawn = ImmutableArray.CreateBuilder<int>(count);
        for (int i = 0; i < count; i++)
        {
            int at = NextBelow(population - i);
            drawn.Add(pool[at]);
            pool[at] = pool[population - i - 1];
        }

        return drawn.MoveToImmutable();
    }

    ImmutableArray<int> SampleWithMemory(int population, int count)
    {
        var seen = new HashSet<int>(count);
        var drawn = ImmutableArray.CreateBuilder<int>(count);
        while (drawn.Count < count)
        {
            int at = NextBelow(population);
            if (seen.Add(at))
            {
                drawn.Add(at);
            }
        }

        return drawn.MoveToImmutable();
    }

    void Seed(ReadOnlySpan<uint> key)
    {
        _state[0] = 19650218;
        for (int i = 1; i < Words; i++)
        {
            _state[i] = (1812433253 * Mixed(i - 1)) + (uint)i;
        }

        int at = 1, of = 0;
        for (int left = Math.Max(Words, key.Length); left > 0; left--)
        {
            _state[at] = (_state[at] ^ (Mixed(at - 1) * 1664525)) + key[of] + (uint)of;
            at = Following(at);
            of = (of + 1) % key.Length;
        }

        for (int left = Words - 1; left > 0; left--)
        {
            _state[at] = (_state[at] ^ (Mixed(at - 1) * 1566083941)) - (uint)at;
            at = Following(at);
        }

        _state[0] = 0x80000000;
    }

    uint Mixed(int at) => _state[at] ^ (_state[at] >> 30);

    int Following(int at)
    {
        if (at + 1 < Words)
        {
            return at + 1;
        }

        _state[0] = _state[Words - 1];
        return 1;
    }

    void Refill()
    {
        for (int i = 0; i < Words; i++)
        {
            uint y = (_state[i] & UpperMask) | (_state[(i + 1) % Words] & LowerMask);
            _state[i] = _state[(i + Middle) % Words] ^ (y >> 1) ^ ((y & 1) * Twist);
        }

        _next = 0;
    }
}
