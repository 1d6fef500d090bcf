namespace OpenElm.Training.Adapters;

/// <summary>
/// Where a run stands, which decides what dropout zeroes: the masks are a pure function of this key and of the module, so a resumed run has the
/// same ones, and a layer that is computed again in the backward pass too.
/// </summary>
/// <param name="Seed">The run's seed.</param>
/// <param name="Update">Optimizer updates made before this one.</param>
/// <param name="MicroBatch">The forward pass within the update, from 0.</param>
public readonly record struct DropoutKey(long Seed, long Update, int MicroBatch)
{
    /// <summary>The seed of one mask.</summary>
    /// <param name="tensor">The name of the tensor whose input is masked.</param>
    /// <returns>A number that depends on every bit of the key and the name.</returns>
    internal ulong SeedOf(string tensor)
    {
        ulong state = Mix(Mix(Mix((ulong)Seed) ^ (ulong)Update) ^ (ulong)MicroBatch);
        foreach (char c in tensor)
        {
            state = Mix(state ^ c);
        }

        return state;
    }

    // SplitMix64 (Steele, Lea, Flood 2014); string.GetHashCode differs from process to process.
    static ulong Mix(ulong value)
    {
        value += 0x9E3779B97F4A7C15;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
