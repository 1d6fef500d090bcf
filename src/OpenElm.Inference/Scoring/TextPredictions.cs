using System.Collections.Immutable;

namespace OpenElm.Inference.Scoring;

/// <summary>What a model made of a text.</summary>
/// <param name="Perplexity">How likely it found the text.</param>
/// <param name="Likeliest">The token it found likeliest at each place.</param>
public sealed record TextPredictions(Perplexity Perplexity, ImmutableArray<int> Likeliest)
{
    /// <summary>How often another model expected the same token.</summary>
    /// <param name="other">Its predictions of the same text.</param>
    /// <returns>From 0 to 1.</returns>
    public double AgreementWith(TextPredictions other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return other.Likeliest.Length == Likeliest.Length
            ? Likeliest.Zip(other.Likeliest, (a, b) => a == b ? 1.0 : 0).Average()
            : throw new ArgumentException($"The other text has {other.Likeliest.Length} tokens, this one {Likeliest.Length}.", nameof(other));
    }
}
