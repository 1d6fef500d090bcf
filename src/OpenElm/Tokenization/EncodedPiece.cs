namespace OpenElm.Tokenization;

/// <summary>One id of an encoded text and the characters that it stands for.</summary>
/// <param name="Id">The id.</param>
/// <param name="Offset">Index of the first UTF-16 character in the text.</param>
/// <param name="Length">
/// Number of UTF-16 characters: 0 for BOS, EOS and a leading blank that is not in the text. Of a character in byte pieces, the
/// last piece holds the characters and the others have length 0.
/// </param>
public readonly record struct EncodedPiece(int Id, int Offset, int Length);
