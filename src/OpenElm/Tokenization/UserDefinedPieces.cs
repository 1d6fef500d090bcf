using System.Buffers;

namespace OpenElm.Tokenization;

/// <summary>Pieces that are always kept whole: at each place of a text the longest one is taken before anything is merged.</summary>
internal sealed class UserDefinedPieces
{
    readonly SearchValues<char> _firstCharacters;
    readonly (string Text, int Id)[] _longestFirst;

    UserDefinedPieces(IEnumerable<(string Text, int Id)> pieces)
    {
        _longestFirst = [.. pieces.OrderByDescending(piece => piece.Text.Length)];
        _firstCharacters = SearchValues.Create([.. _longestFirst.Select(piece => piece.Text[0]).Distinct()]);
    }

    /// <summary>The user-defined pieces of a model, or null if it has none.</summary>
    public static UserDefinedPieces? Of(SentencePieceModel model)
    {
        var pieces = new List<(string, int)>();
        for (int id = 0; id < model.Pieces.Length; id++)
        {
            if (model.Pieces[id].Type == PieceType.UserDefined)
            {
                pieces.Add((model.Pieces[id].Text, id));
            }
        }
        return pieces.Count == 0 ? null : new UserDefinedPieces(pieces);
    }

    /// <summary>Pieces by their text, for texts in which special pieces are recognized.</summary>
    public static UserDefinedPieces? Special(SentencePieceModel model)
    {
        var pieces = new List<(string, int)>();
        for (int id = 0; id < model.Pieces.Length; id++)
        {
            if (model.Pieces[id].Type is PieceType.Control or PieceType.Unknown)
            {
                pieces.Add((model.Pieces[id].Text, id));
            }
        }
        return pieces.Count == 0 ? null : new UserDefinedPieces(pieces);
    }

    /// <summary>The first piece in <paramref name="text"/>.</summary>
    /// <returns>Where, its id and its length; if there is none, the end of the text and length 0.</returns>
    public (int At, int Id, int Length) FindFirst(ReadOnlySpan<char> text)
    {
        for (int at = 0; ; at++)
        {
            int next = text[at..].IndexOfAny(_firstCharacters);
            if (next < 0)
            {
                return (text.Length, 0, 0);
            }
            at += next;
            foreach ((string piece, int id) in _longestFirst)
            {
                if (text[at..].StartsWith(piece, StringComparison.Ordinal))
                {
                    return (at, id, piece.Length);
                }
            }
        }
    }
}
