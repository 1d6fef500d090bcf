using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;
using OpenElm.Inference.Scoring;
using OpenElm.Tokenization;

namespace OpenElm.Evaluation.Engine;

/// <summary>
/// Turns texts into tokens as lm-evaluation-harness does with <c>add_bos_token</c>: context and continuation are encoded as one text (<see cref="Scorer.Split(string, string)"/>),
/// of which the last <see cref="MaxLength"/> + 1 tokens stay. A whole text is encoded with BOS and cut into windows; EOS stands before the first, and BOS
/// itself is scored. (At the paper's commit of the harness, EOS is the prefix; later releases take BOS.)
/// </summary>
/// <param name="tokenizer">The model's tokenizer.</param>
/// <param name="maxLength">Tokens that the model takes.</param>
public sealed class RequestTokenizer(SentencePieceTokenizer tokenizer, int maxLength)
{
    static readonly TokenizerOptions WithBos = new() { AddBos = true };

    ImmutableArray<int> _lastContext = [];

    /// <summary>Tokens that the model takes.</summary>
    public int MaxLength => maxLength;

    /// <summary>Encodes a request.</summary>
    /// <param name="request">The request.</param>
    /// <param name="kind">What the task asks.</param>
    /// <param name="specialPieces">Whether <c>&lt;/s&gt;</c> in the text is the token.</param>
    /// <returns>Its tokens.</returns>
    /// <exception cref="OpenElmException">The continuation has no tokens of its own, or more than the model takes.</exception>
    public TokenizedRequest Encode(EvaluationRequest request, RequestKind kind, bool specialPieces = false)
    {
        ArgumentNullException.ThrowIfNull(request);
        return kind switch
        {
            RequestKind.Continuation => Continuation(request.Context, request.Continuation, specialPieces),
            RequestKind.WholeText => new TokenizedRequest([.. RollingWindows.Of([.. tokenizer.Encode(request.Continuation, OptionsFor(specialPieces))], tokenizer.EosId, maxLength)]),
            _ => throw new ArgumentException("Text that is generated has no log-probability.", nameof(kind)),
        };
    }

    /// <summary>Encodes a prompt that the model goes on with; the last tokens stay that leave room for its answer.</summary>
    /// <param name="prompt">The prompt.</param>
    /// <param name="settings">How the answer is written.</param>
    /// <param name="specialPieces">Whether <c>&lt;/s&gt;</c> in the text is the token.</param>
    /// <returns>BOS and the prompt.</returns>
    /// <exception cref="OpenElmException">The answer alone fills the model's context.</exception>
    public GenerationRequest Encode(string prompt, GenerationSettings settings, bool specialPieces = false)
    {
        ArgumentNullException.ThrowIfNull(settings);
        int room = maxLength - settings.MaxTokens;
        int[] tokens = tokenizer.Encode(prompt, OptionsFor(specialPieces));
        return room >= 1
            ? new GenerationRequest([.. tokens[Math.Max(0, tokens.Length - room)..]], settings) { IsTruncated = tokens.Length > room }
            : throw new OpenElmException($"An answer of {settings.MaxTokens} tokens leaves no room for the question: the model takes {maxLength}.");
    }

    static TokenizerOptions OptionsFor(bool specialPieces) => specialPieces ? WithBos with { RecognizeSpecialPieces = true } : WithBos;

    TokenizedRequest Continuation(string context, string continuation, bool specialPieces)
    {
        (int[] tokens, int start) = Scorer.Split(tokenizer, context, continuation, specialPieces);
        int scored = tokens.Length - start;
        if (scored < 1 || scored > maxLength)
        {
            throw new OpenElmException(scored < 1
                ? $"The continuation \"{Excerpt(continuation)}\" has no tokens of its own behind \"…{context[Math.Max(0, context.Length - 40)..]}\"; a choice must not be empty."
                : $"The continuation \"{Excerpt(continuation)}\" has {scored} tokens; the model takes {maxLength}. Raise that with --max-length if the model can, or leave the document out.");
        }

        int from = Math.Max(0, tokens.Length - maxLength - 1); // left truncation
        return new TokenizedRequest([new TokenWindow(Shared(tokens.AsSpan(from, start - from)), [.. tokens[start..]])]) { IsTruncated = from > 0 };
    }

    // The choices of a question have one context: it is kept in memory once.
    ImmutableArray<int> Shared(ReadOnlySpan<int> context) => _lastContext.AsSpan().SequenceEqual(context) ? _lastContext : _lastContext = [.. context];

    static string Excerpt(string text) => text.Length > 40 ? text[..40] + "…" : text;
}
