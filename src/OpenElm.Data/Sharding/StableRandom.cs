using System.Numerics;

namespace OpenElm.Data.Sharding;

/// <summary>
/// xoshiro256** (Blackman and Vigna, 2018), its state filled by SplitMix64 from the seed and the numbers that name the
/// stream. Written here, not taken from <see cref="Random"/>, because the order of a corpus must survive new .NET versions.
/// </summary>
internal sealed class StableRandom
{
    ulong _s0, _s1, _s2, _s3;

    public StableRandom(int seed, params ReadOnlySpan<long> stream)
    {
        ulong state = (ulong)seed;
        foreach (long part in stream)
        {
            state = Mix(ref state) ^ (ulong)part;
        }

        _s0 = Mix(ref state);
        _s1 = Mix(ref state);
        _s2 = Mix(ref state);
        _s3 = Mix(ref state);
    }

    /// <summary>Continues from a known state.</summary>
    internal StableRandom(ulong s0, ulong s1, ulong s2, ulong s3) => (_s0, _s1, _s2, _s3) = (s0, s1, s2, s3);

    /// <summary>A uniform number below <paramref name="bound"/>, unbiased (Lemire, 2019).</summary>
    public int Below(int bound)
    {
        ulong range = (ulong)bound;
        ulong low;
        ulong high = Math.BigMul(Next(), range, out low);
        if (low < range)
        {
            ulong threshold = (0 - range) % range;
            while (low < threshold)
            {
                high = Math.BigMul(Next(), range, out low);
            }
        }

        return (int)high;
    }

    /// <summary>Fisher–Yates, from the last element down.</summary>
    public void Shuffle<T>(Span<T> values)
    {
        for (int i = values.Length - 1; i > 0; i--)
        {
            int j = Below(i + 1);
            (values[i], values[j]) = (values[j], values[i]);
        }
    }

    internal ulong Next()
    {
        ulong result = BitOperations.RotateLeft(_s1 * 5, 7) * 9;
        ulong t = _s1 << 17;
        _s2 ^= _s0;
        _s3 ^= _s1;
        _s1 ^= _s2;
        _s0 ^= _s3;
        _s2 ^= t;
        _s3 = BitOperations.RotateLeft(_s3, 45);
        return result;
    }

    internal static ulong Mix(ref ulong state)
    {
        ulong z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
