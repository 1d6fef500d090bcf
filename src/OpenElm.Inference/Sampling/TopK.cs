namespace OpenElm.Inference.Sampling;

/// <summary>Keeps the k largest logits, and those equal to the smallest of them.</summary>
/// <param name="k">1 or more; more than there are candidates keeps all.</param>
public sealed class TopK(int k) : ILogitsProcessor
{
    readonly float[] _heap = new float[k];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (k >= logits.Length)
        {
            return;
        }

        float smallest = SmallestOfTheLargest(logits);
        foreach (ref float logit in logits)
        {
            logit = logit < smallest ? float.NegativeInfinity : logit;
        }
    }

    // A heap of the k largest so far, the smallest of them on top: most logits are below it and cost one comparison.
    // Sorting all 32,000 instead took 1.5 ms a token.
    float SmallestOfTheLargest(ReadOnlySpan<float> logits)
    {
        Span<float> heap = _heap;
        logits[..k].CopyTo(heap);
        for (int i = (k / 2) - 1; i >= 0; i--)
        {
            SiftDown(heap, i);
        }

        foreach (float logit in logits[k..])
        {
            if (logit > heap[0])
            {
                heap[0] = logit;
                SiftDown(heap, 0);
            }
        }

        return heap[0];
    }

    static void SiftDown(Span<float> heap, int at)
    {
        float value = heap[at];
        while ((2 * at) + 1 is var child && child < heap.Length)
        {
            child += child + 1 < heap.Length && heap[child + 1] < heap[child] ? 1 : 0;
            if (heap[child] >= value)
            {
                break;
            }

            heap[at] = heap[child];
            at = child;
        }

        heap[at] = value;
    }
}
