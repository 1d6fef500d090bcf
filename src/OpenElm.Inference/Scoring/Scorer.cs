using System.Collections.Immutable;
using System.Numerics.Tensors;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Scoring;

/// <summary>
/// Log-probabilities of given tokens. The rules for a continuation are those of lm-evaluation-harness with
/// <c>add_bos_token</c>, so that evaluation and <c>openelm score</c> give the same numbers.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="tokenizer">Its tokenizer, or null where only ids are scored; then all rows of the vocabulary count.</param>
public sealed class Scorer(ICausalLM model, SentencePieceTokenizer? tokenizer)
{
    // Rows of logits in memory at a time: 64 · 32000 floats are 8 MB.
    const int RowsAtATime = 64;

    static readonly TokenizerOptions WithBos = new() { AddBos = true };

    readonly int _candidates = TextModel.CandidateCount(model, tokenizer);

    /// <summary>Ids below this share the probability.</summary>
    public int Candidates => _candidates;

    /// <summary>Scores every token after the first.</summary>
    /// <param name="tokens">[seq], at least two.</param>
    /// <returns>[seq − 1] log-probabilities.</returns>
    /// <exception cref="OpenElmException">There are too few or too many tokens, or an id that cannot be scored.</exception>
    public Score ScoreTokens(ReadOnlySpan<int> tokens) => tokens.Length >= 2
        ? ScoreFrom(tokens, 1)
        : throw new OpenElmException($"There are {tokens.Length} tokens; at least two are needed to score one.");

    /// <summary>Scores a text: every token after the BOS it is given.</summary>
    /// <param name="text">The text, not empty.</param>
    /// <returns>One log-probability for each token of the text.</returns>
    /// <exception cref="OpenElmException">There is no tokenizer, or the text is empty or too long.</exception>
    public Score ScoreText(string text)
    {
        int[] tokens = Tokenizer.Encode(text, WithBos);
        return tokens.Length > 1 ? ScoreFrom(tokens, 1) : throw new OpenElmException("The text is empty; there is nothing to score.");
    }

    /// <summary>Scores a continuation: every token of it, given the context.</summary>
    /// <param name="context">The context. Empty counts as the single token EOS; the BOS of the continuation is then scored too.</param>
    /// <param name="continuation">The continuation, not empty.</param>
    /// <returns>One log-probability for each token of the continuation.</returns>
    /// <exception cref="OpenElmException">There is no tokenizer, or the texts are too long, or no token is left to score.</exception>
    public Score ScoreContinuation(string context, string continuation)
    {
        (int[] tokens, int start) = Split(context, continuation);
        return start < tokens.Length ? ScoreFrom(tokens, start) : throw new OpenElmException("The continuation has no tokens of its own; there is nothing to score.");
    }

    /// <summary>
    /// Context and continuation as one run of tokens: both are encoded as one text, and what is longer than the context
    /// alone is the continuation. Blanks at the end of the context move to the continuation first.
    /// </summary>
    /// <param name="context">The context.</param>
    /// <param name="continuation">The continuation.</param>
    /// <returns>All tokens, and where the continuation begins.</returns>
    public (int[] Tokens, int Start) Split(string context, string continuation) => Split(Tokenizer, context, continuation);

    /// <summary>The same, where there is a tokenizer alone.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="context">The context.</param>
    /// <param name="continuation">The continuation.</param>
    /// <param name="specialPieces">Whether <c>&lt;/s&gt;</c> in the text is the token, as chat templates mean it, or four characters.</param>
    /// <returns>All tokens, and where the continuation begins.</returns>
    public static (int[] Tokens, int Start) Split(SentencePieceTokenizer tokenizer, string context, string continuation, bool specialPieces = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(context);
        TokenizerOptions options = specialPieces ? WithBos with { RecognizeSpecialPieces = true } : WithBos;
        if (context.Length == 0)
        {
            return ([tokenizer.EosId, .. tokenizer.Encode(continuation, options)], 1);
        }

        int end = context.Length;
        while (end > 0 && IsPythonSpace(context[end - 1]))
        {
            end--;
        }

        return (tokenizer.Encode(context + continuation, options), tokenizer.Encode(context.AsSpan(0, end), options).Length);
    }

    /// <summary>Scores the later tokens of a sequence.</summary>
    /// <param name="tokens">[seq].</param>
    /// <param name="start">The first token to score, at least 1.</param>
    /// <returns>[seq − start] log-probabilities.</returns>
    public Score ScoreFrom(ReadOnlySpan<int> tokens, int start)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(start, 1);
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)_candidates)
            {
                throw new OpenElmException($"The token id {token} cannot be scored: ids go from 0 to {_candidates - 1}.");
            }
        }

        var logProbabilities = ImmutableArray.CreateBuilder<double>(tokens.Length - start);
        var likeliest = ImmutableArray.CreateBuilder<int>(tokens.Length - start);
        if (model is OpenElmModel own)
        {
            ScoreInRuns(own, tokens, start, logProbabilities, likeliest);
        }
        else
        {
            float[] logits = new float[checked((tokens.Length - start) * model.Config.VocabSize)];
            model.ComputeLogits(tokens[..^1], start - 1, logits);
            AddRows(logits, tokens[start..], logProbabilities, likeliest);
        }

        ImmutableArray<int> expected = likeliest.MoveToImmutable();
        return new Score(logProbabilities.MoveToImmutable(), expected.AsSpan().SequenceEqual(tokens[start..])) { Likeliest = expected };
    }

    SentencePieceTokenizer Tokenizer => tokenizer ?? throw new OpenElmException("Scoring text needs a tokenizer; put tokenizer.model into the model folder, or score token ids.");

    void ScoreInRuns(OpenElmModel own, ReadOnlySpan<int> tokens, int start, ImmutableArray<double>.Builder logProbabilities, ImmutableArray<int>.Builder likeliest)
    {
        float[] logits = new float[checked(Math.Min(RowsAtATime, tokens.Length) * own.Config.VocabSize)];
        using SequenceState state = own.CreateState(tokens.Length - 1);
        own.Prefill(tokens[..start], state, logits); // its last position predicts the first token to score
        AddRows(logits, tokens.Slice(start, 1), logProbabilities, likeliest);
        for (int at = start; at < tokens.Length - 1; at += RowsAtATime)
        {
            int rows = Math.Min(RowsAtATime, tokens.Length - 1 - at);
            own.Forward(tokens.Slice(at, rows), state, rows, logits);
            AddRows(logits, tokens.Slice(at + 1, rows), logProbabilities, likeliest);
        }
    }

    // logits [targets, vocab]
    void AddRows(ReadOnlySpan<float> logits, ReadOnlySpan<int> targets, ImmutableArray<double>.Builder logProbabilities, ImmutableArray<int>.Builder likeliest)
    {
        for (int i = 0; i < targets.Length; i++)
        {
            ReadOnlySpan<float> row = logits.Slice(i * model.Config.VocabSize, _candidates); // rows that only pad have no probability
            double logProbability = LogSoftmax.Of(row, targets[i]);
            logProbabilities.Add(double.IsFinite(logProbability)
                ? logProbability
                : throw new OpenElmException($"The model gave logits that are no numbers; {(model as OpenElmModel)?.CauseOfOverflow ?? OpenElmModel.DamagedOrOverflow}."));
            likeliest.Add(TensorPrimitives.IndexOfMax(row));
        }
    }

    // str.isspace(): .NET's white space and the four separators of ASCII.
    static bool IsPythonSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1c' and <= '\x1f';
}
