namespace OpenElm.Inference.Threading;

/// <summary>
/// Pieces of long steps, for whichever thread is free: where a step takes milliseconds, a thread that was held up would make all others wait.
/// The first pieces are large, the last small. Who computes a piece changes nothing in it.
/// </summary>
/// <param name="steps">The steps of a job.</param>
internal sealed class ClaimedShares(int steps)
{
    const int Spacing = 16; // a line of the cache for each step

    readonly int[] _next = new int[steps * Spacing];

    /// <summary>Makes all steps whole again, before a job.</summary>
    public void Reset() => _next.AsSpan().Clear();

    /// <summary>Takes one of the pieces of a step.</summary>
    /// <param name="step">The step.</param>
    /// <returns>Its number, perhaps behind the last.</returns>
    public int ClaimOne(int step) => Interlocked.Increment(ref _next[step * Spacing]) - 1;

    /// <summary>Takes a stretch of a step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="total">Its size.</param>
    /// <param name="least">The smallest piece; other pieces are multiples of it.</param>
    /// <param name="parts">The threads that share it.</param>
    /// <param name="first">Where the piece begins.</param>
    /// <param name="end">Behind its end.</param>
    /// <returns>Whether there was one left.</returns>
    public bool TryClaim(int step, int total, int least, int parts, out int first, out int end)
    {
        ref int next = ref _next[step * Spacing];
        while (true)
        {
            first = Volatile.Read(ref next);
            int left = total - first, size = Math.Min(left, Math.Max(least, left / (2 * parts) / least * least));
            end = first + size;
            if (size <= 0)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref next, end, first) == first)
            {
                return true;
            }
        }
    }
}
