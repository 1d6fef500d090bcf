namespace OpenElm.Inference.Sampling;

/// <summary>Keeps the k largest logits, and those equal to the smallest of them.</summary>
/// <param name="k">1 or more; more than there are candidates keeps all.</param>
public sealed class TopK(int k) : ILogitsProcessor
{
    float[] _sorted = [];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        if (k >= logits.Length)
        {
            return;
        }

        if (_sorted.Length < logits.Length)
        {
            _sorted = new float[logits.Length];
        }

        Span<float> sorted = _sorted.AsSpan(0, logits.Length);
        logits.CopyTo(sorted);
        sorted.Sort();
        float smallest = sorted[^k];
        foreach (ref float logit in logits)
        {
            logit = logit < smallest ? float.NegativeInfinity : logit;
        }
    }
}
