namespace OpenElm.Inference.Sampling;

/// <summary>Adds a number to the logits of chosen tokens: about −100 forbids one, +100 forces it.</summary>
/// <param name="biases">Token id and what is added.</param>
public sealed class LogitBias(IEnumerable<KeyValuePair<int, double>> biases) : ILogitsProcessor
{
    readonly (int Token, float Bias)[] _biases = [.. biases.Select(pair => (pair.Key, (float)pair.Value))];

    /// <inheritdoc/>
    public void Apply(ReadOnlySpan<int> tokens, Span<float> logits)
    {
        foreach ((int token, float bias) in _biases)
        {
            logits[token] += bias;
        }
    }
}
