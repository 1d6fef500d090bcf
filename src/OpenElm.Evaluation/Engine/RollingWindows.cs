using System.Collections.Immutable;

namespace OpenElm.Evaluation.Engine;

/// <summary>
/// lm-evaluation-harness' windows of a text that is longer than the model's context (<c>get_rolling_token_windows</c> with one token of context, then
/// <c>make_disjoint_window</c>): windows follow each other and each predicts as many tokens as the model takes; the last one reaches back, so that its
/// tokens see as much context as fits.
/// </summary>
internal static class RollingWindows
{
    /// <summary>Cuts a text.</summary>
    /// <param name="tokens">[seq], all of which are predicted.</param>
    /// <param name="prefix">Stands before the first token.</param>
    /// <param name="maxLength">Tokens that the model takes.</param>
    /// <returns>The windows, in order.</returns>
    public static IEnumerable<TokenWindow> Of(ImmutableArray<int> tokens, int prefix, int maxLength)
    {
        for (int predicted = 0; predicted < tokens.Length;)
        {
            int end = Math.Min(predicted + maxLength, tokens.Length);

            // The first window has the prefix before it; each later one has the model's maximum of tokens and one more, the prediction of the last.
            yield return predicted == 0 ? new TokenWindow([prefix], tokens[..end]) : new TokenWindow(tokens[(end - maxLength - 1)..predicted], tokens[predicted..end]);
            predicted = end;
        }
    }
}
