using System.Collections.Immutable;
using OpenElm.Tokenization;

namespace OpenElm.Data.Preferences;

/// <summary>A pair, and whether the limits took something away from it.</summary>
/// <param name="Pair">The pair.</param>
/// <param name="PromptIsCut">Whether the prompt lost its beginning.</param>
/// <param name="ResponseIsCut">Whether a response lost its end.</param>
internal sealed record TokenizedPair(PreferencePair Pair, bool PromptIsCut, bool ResponseIsCut);

/// <summary>
/// Turns a prompt and two responses into tokens as trl 0.8.2 does (<c>DPOTrainer.tokenize_row</c> and <c>build_tokenized_answer</c> in trl/trainer/dpo_trainer.py):
/// prompt and response are tokenized in one piece, BOS is put in front and EOS behind, and only then is cut what is too long. So a prompt
/// that is cut has lost its BOS, and a response that is cut its EOS.
/// </summary>
/// <param name="maxLength">Tokens that the prompt and the longer response may have together.</param>
/// <param name="maxPromptLength">Tokens that are left of the prompt where both together have too many.</param>
/// <param name="tokenizer">Turns text into tokens.</param>
internal sealed class PairTokenizer(int maxLength, int maxPromptLength, SentencePieceTokenizer tokenizer)
{
    static readonly TokenizerOptions Options = new() { RecognizeSpecialPieces = true };

    /// <summary>Tokenizes a pair.</summary>
    /// <param name="text">The pair.</param>
    /// <param name="origin">File and record.</param>
    /// <exception cref="OpenElmException">The tokens do not say where the prompt ends, or there is no prompt.</exception>
    public TokenizedPair Tokenize(PreferenceText text, string origin)
    {
        int[] alone = tokenizer.Encode(text.Prompt, Options);
        int[] chosen = tokenizer.Encode(text.Prompt + text.Chosen, Options), rejected = tokenizer.Encode(text.Prompt + text.Rejected, Options);
        int border = Border(alone, chosen, rejected);
        // The reference's template writes no BOS of its own, so which of two to keep is ours to say: one.
        bool addBos = tokenizer.BosId >= 0 && !(chosen.Length > 0 && chosen[0] == tokenizer.BosId);
        return Cut([.. addBos ? [tokenizer.BosId] : Array.Empty<int>(), .. chosen[..border]], WithEos(chosen[border..]), WithEos(rejected[border..]), origin);
    }

    // A token across the border belongs to the response. Where that moves the border for one response only, trl has two prompts
    // that differ in their last token; here the prompt ends before it.
    static int Border(int[] alone, int[] chosen, int[] rejected)
    {
        int border = Math.Min(Border(alone, chosen), Border(alone, rejected));
        int shared = chosen.AsSpan(0, border).CommonPrefixLength(rejected.AsSpan(0, border));
        return shared >= border - 1
            ? shared
            : throw new OpenElmException("the responses change more than the last token of the prompt, so the tokens do not say where it ends; end prompts with a line break in the template.");
    }

    static int Border(int[] alone, int[] joint) =>
        joint.Length < alone.Length ? throw new OpenElmException("the prompt has more tokens alone than with its response, so the tokens do not say where it ends; end prompts with a line break in the template.")
        : joint.AsSpan().StartsWith(alone) ? alone.Length
        : alone.Length - 1;

    ImmutableArray<int> WithEos(int[] response) => tokenizer.EosId >= 0 ? [.. response, tokenizer.EosId] : [.. response];

    // Both responses are cut as the longer one needs it.
    TokenizedPair Cut(ImmutableArray<int> prompt, ImmutableArray<int> chosen, ImmutableArray<int> rejected, string origin)
    {
        if (prompt is [] || chosen is [] || rejected is [])
        {
            throw new OpenElmException("the prompt or a response has no tokens.");
        }

        int longer = Math.Max(chosen.Length, rejected.Length), promptLength = prompt.Length, maxResponse = maxLength - maxPromptLength;
        if (prompt.Length + longer > maxLength && prompt.Length > maxPromptLength)
        {
            prompt = prompt[^maxPromptLength..];
        }

        bool responseIsCut = prompt.Length + longer > maxLength && longer > maxResponse;
        ImmutableArray<int> Kept(ImmutableArray<int> response) => responseIsCut ? response[..Math.Min(response.Length, maxResponse)] : response;
        return new(new PreferencePair(prompt, Kept(chosen), Kept(rejected), origin), prompt.Length < promptLength, responseIsCut);
    }
}
