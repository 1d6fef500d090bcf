namespace OpenElm.Tokenization;

/// <summary>What a tokenizer consists of.</summary>
/// <param name="Pieces">All pieces.</param>
/// <param name="Normal">Pieces that merging makes, and characters.</param>
/// <param name="Control">Pieces such as BOS, which no text gives by itself.</param>
/// <param name="UserDefined">Pieces that are always kept whole.</param>
/// <param name="Bytes">Byte pieces.</param>
/// <param name="Unused">Pieces that are never given out.</param>
/// <param name="LongestPiece">Length of the longest piece in UTF-16 characters.</param>
/// <param name="ByteFallback">Whether unknown characters become byte pieces.</param>
/// <param name="AddDummyPrefix">Whether every text gets a blank in front.</param>
/// <param name="RemoveExtraBlanks">Whether leading, trailing and repeated blanks are dropped.</param>
public sealed record TokenizerSummary(
    int Pieces, int Normal, int Control, int UserDefined, int Bytes, int Unused, int LongestPiece,
    bool ByteFallback, bool AddDummyPrefix, bool RemoveExtraBlanks)
{
    internal static TokenizerSummary Of(SentencePieceModel model)
    {
        int Count(PieceType type) => model.Pieces.Count(piece => piece.Type == type);

        return new(
            model.Pieces.Length, Count(PieceType.Normal), Count(PieceType.Control), Count(PieceType.UserDefined), Count(PieceType.Byte),
            Count(PieceType.Unused), model.Pieces.Max(piece => piece.Text.Length), model.ByteFallback, model.AddDummyPrefix, model.RemoveExtraBlanks);
    }
}
