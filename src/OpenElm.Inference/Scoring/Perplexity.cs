using System.Collections.Immutable;
using System.Text;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Scoring;

/// <summary>Sums over texts from which perplexities follow; add texts, then read.</summary>
/// <param name="Tokens">Tokens scored.</param>
/// <param name="Words">Words, separated by white space; null where token ids were scored.</param>
/// <param name="Bytes">Bytes in UTF-8; null where token ids were scored.</param>
/// <param name="LogProbability">The sum of the natural logarithms.</param>
public readonly record struct Perplexity(long Tokens, long? Words, long? Bytes, double LogProbability)
{
    /// <summary>e^(−sum ÷ tokens).</summary>
    public double PerToken => Math.Exp(-LogProbability / Tokens);

    /// <summary>e^(−sum ÷ words).</summary>
    public double? PerWord => Words is { } words ? Math.Exp(-LogProbability / words) : null;

    /// <summary>e^(−sum ÷ bytes).</summary>
    public double? PerByte => Bytes is { } bytes ? Math.Exp(-LogProbability / bytes) : null;

    /// <summary>−sum ÷ (bytes · ln 2).</summary>
    public double? BitsPerByte => Bytes is { } bytes ? -LogProbability / bytes / Math.Log(2) : null;

    /// <summary>Adds the sums of two sets of texts.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Both; words and bytes are unknown if one's are.</returns>
    public static Perplexity operator +(Perplexity left, Perplexity right) =>
        new(left.Tokens + right.Tokens, left.Words + right.Words, left.Bytes + right.Bytes, left.LogProbability + right.LogProbability);

    /// <summary>Adds the sums of two sets of texts.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">The other.</param>
    /// <returns>Both.</returns>
    public static Perplexity Add(Perplexity left, Perplexity right) => left + right;
}

/// <summary>
/// Perplexity of texts of any length. A text longer than the window is scored in windows that overlap: each begins with
/// BOS, as every training sequence does, and scores the tokens that no window before has scored. After the first window,
/// each scores <see cref="Stride"/> tokens that see at least window − stride tokens of context.
/// </summary>
public sealed class PerplexityMeter
{
    readonly Scorer _scorer;
    readonly SentencePieceTokenizer? _tokenizer;
    readonly int _bos;

    /// <summary>Prepares to measure.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer, or null where only ids are scored.</param>
    /// <param name="window">Tokens the model sees at once, BOS included; null takes <c>max_context_length</c>.</param>
    /// <param name="stride">Tokens scored by each window after the first; null takes half a window.</param>
    /// <exception cref="OpenElmException">Window or stride is impossible; both are listed.</exception>
    public PerplexityMeter(ICausalLM model, SentencePieceTokenizer? tokenizer, int? window = null, int? stride = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        (_scorer, _tokenizer) = (new Scorer(model, tokenizer), tokenizer);
        _bos = tokenizer?.BosId ?? model.Config.BosTokenId;
        Window = window ?? model.Config.MaxContextLength;
        Stride = stride ?? Math.Max(1, Window / 2);
        int limit = (model as OpenElmModel)?.MaxLength ?? model.Config.RopeMaxLength;
        var problems = new List<string>();
        if (Window < 1 || Window > limit)
        {
            problems.Add($"the window is {Window} tokens; it must be in 1 to {limit}");
        }

        if (Stride < 1 || Stride > Window)
        {
            problems.Add($"the stride is {Stride} tokens; it must be in 1 to the window of {Window}");
        }

        if (problems is not [])
        {
            throw OpenElmException.Of("Invalid windows", problems);
        }
    }

    /// <summary>Tokens the model sees at once, BOS included.</summary>
    public int Window { get; }

    /// <summary>Tokens scored by each window after the first.</summary>
    public int Stride { get; }

    /// <summary>Measures a text.</summary>
    /// <param name="text">The text, not empty.</param>
    /// <param name="cancellation">Stops between two windows.</param>
    /// <returns>Its sums.</returns>
    /// <exception cref="OpenElmException">There is no tokenizer, or the text is empty.</exception>
    public Perplexity MeasureText(string text, CancellationToken cancellation = default)
    {
        SentencePieceTokenizer tokenizer = _tokenizer ?? throw new OpenElmException("Measuring text needs a tokenizer; put tokenizer.model into the model folder, or give token ids.");
        int words = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
        return MeasureTokens(tokenizer.Encode(text), cancellation) with { Words = words, Bytes = Encoding.UTF8.GetByteCount(text) };
    }

    /// <summary>Measures token ids; BOS is put in front of each window.</summary>
    /// <param name="tokens">[seq], without BOS.</param>
    /// <param name="cancellation">Stops between two windows.</param>
    /// <returns>Their sums; words and bytes are unknown.</returns>
    /// <exception cref="OpenElmException">There is no token, or one that cannot be scored.</exception>
    public Perplexity MeasureTokens(ReadOnlySpan<int> tokens, CancellationToken cancellation = default) => Predict(tokens, cancellation).Perplexity;

    /// <summary>Measures token ids and tells what the model expected; BOS is put in front of each window.</summary>
    /// <param name="tokens">[seq], without BOS.</param>
    /// <param name="cancellation">Stops between two windows.</param>
    /// <returns>Their sums, and the likeliest token at each place.</returns>
    /// <exception cref="OpenElmException">There is no token, or one that cannot be scored.</exception>
    public TextPredictions Predict(ReadOnlySpan<int> tokens, CancellationToken cancellation = default)
    {
        if (tokens.IsEmpty)
        {
            throw new OpenElmException("The text has no tokens; there is nothing to measure.");
        }

        double sum = 0;
        var likeliest = ImmutableArray.CreateBuilder<int>(tokens.Length);
        for (int scored = 0; scored < tokens.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            int end = Math.Min(tokens.Length, scored == 0 ? Window : scored + Stride);
            int begin = Math.Max(0, end - Window);
            Score score = _scorer.ScoreFrom([_bos, .. tokens[begin..end]], 1 + scored - begin);
            sum += score.Sum;
            likeliest.AddRange(score.Likeliest);
            scored = end;
        }

        return new TextPredictions(new Perplexity(tokens.Length, null, null, sum), likeliest.MoveToImmutable());
    }
}
