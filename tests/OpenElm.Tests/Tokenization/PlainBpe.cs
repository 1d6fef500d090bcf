using System.Text;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

/// <summary>
/// Byte-pair encoding as the specification says it, slow and plain: strings, no cuts, no memory; over the whole text, merge the
/// neighbours that make the piece of the highest score, the leftmost first. For models like LLaMA's: byte fallback, dummy prefix,
/// blanks kept, no user-defined pieces.
/// </summary>
internal sealed class PlainBpe
{
    readonly Dictionary<string, (int Id, float Score)> _pieces = [];
    readonly SentencePieceTokenizer _tokenizer;

    public PlainBpe(SentencePieceTokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        for (int id = 0; id < tokenizer.PieceCount; id++)
        {
            if (tokenizer.Model.Pieces[id].Type == PieceType.Normal)
            {
                _pieces.Add(tokenizer.PieceOf(id), (id, tokenizer.Model.Pieces[id].Score));
            }
        }
    }

    public List<int> Encode(string text)
    {
        if (text.Length == 0)
        {
            return [];
        }
        List<string> symbols = [.. ("▁" + text.Replace(' ', '▁')).EnumerateRunes().Select(rune => rune.ToString())];
        while (true)
        {
            int best = -1;
            float bestScore = float.NegativeInfinity;
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                if (_pieces.TryGetValue(symbols[i] + symbols[i + 1], out (int Id, float Score) piece) && piece.Score > bestScore)
                {
                    (best, bestScore) = (i, piece.Score);
                }
            }
            if (best < 0)
            {
                break;
            }
            symbols[best] += symbols[best + 1];
            symbols.RemoveAt(best + 1);
        }
        return [.. symbols.SelectMany(symbol => _pieces.TryGetValue(symbol, out (int Id, float Score) piece)
            ? [piece.Id]
            : Encoding.UTF8.GetBytes(symbol).Select(value => _tokenizer.IdOf($"<0x{value:X2}>")!.Value))];
    }
}
