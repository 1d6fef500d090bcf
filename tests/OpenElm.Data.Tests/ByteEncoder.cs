using System.Text;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Tests;

/// <summary>The smallest tokenizer: a token is a byte. Ids 256, 257 and 258 are BOS, EOS and pad.</summary>
sealed class ByteEncoder : ITextEncoder
{
    public int BosId => 256;

    public int EosId => 257;

    public int PadId => 258;

    public int PieceCount { get; init; } = 258;

    public string Fingerprint { get; init; } = "bytes";

    /// <summary>Whether decoding drops a leading blank, as SentencePiece's does.</summary>
    public bool DropsLeadingBlank { get; init; }

    public Func<string, string> CleanUpWith { get; init; } = text => text;

    public void Encode(ReadOnlySpan<char> text, List<int> output)
    {
        foreach (byte b in Encoding.UTF8.GetBytes(text.ToString()))
        {
            output.Add(b);
        }
    }

    public string Decode(ReadOnlySpan<int> tokens)
    {
        string text = Encoding.UTF8.GetString([.. tokens.ToArray().Where(token => token < 256).Select(token => (byte)token)]);
        return DropsLeadingBlank && text.StartsWith(' ') ? text[1..] : text;
    }

    public string CleanUp(string text) => CleanUpWith(text);

    /// <summary>A text's tokens, with BOS and EOS as asked.</summary>
    public static int[] Tokens(string text, bool bos = true, bool eos = true) =>
        [.. bos ? [256] : Array.Empty<int>(), .. Encoding.UTF8.GetBytes(text).Select(b => (int)b), .. eos ? [257] : Array.Empty<int>()];
}
