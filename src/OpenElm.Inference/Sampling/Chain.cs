namespace OpenElm.Inference.Sampling;

/// <summary>Processors one after another.</summary>
/// <param name="processors">In order.</param>
public sealed class Chain(IReadOnlyList<ILogitsProcessor> processors) : ILogitsProcessor
{
    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        for (int i = 0; i < processors.Count; i++)
        {
            processors[i].Apply(tokens, logits);
        }
    }
}
