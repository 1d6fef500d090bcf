using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpenElm.Tokenization;

/// <summary>
/// Where a text may be cut without changing its encoding: between two characters that stand side by side in no piece. No merge
/// can ever cross such a place, so the parts between are encoded one by one, and frequent parts only once.
/// </summary>
internal sealed class ChunkBoundaries
{
    const int Ascii = 128;

    // The table of other pairs is a set of hash bits: a collision only means one cut less.
    const int HashBits = 18;

    readonly bool[] _asciiInPiece = new bool[Ascii * Ascii];
    readonly ulong[] _otherInPiece = new ulong[(1 << HashBits) / 64];
    readonly bool _escapeBlanks;
    readonly bool _blankOnlyStartsPieces = true;

    public ChunkBoundaries(SentencePieceModel model)
    {
        _escapeBlanks = model.EscapeBlanks;
        foreach (Piece piece in model.Pieces)
        {
            if (!PieceIndex.IsOrdinary(piece))
            {
                continue;
            }
            for (int i = 1; i < piece.Text.Length; i++)
            {
                char left = Escaped(piece.Text[i - 1]);
                char right = Escaped(piece.Text[i]);
                _blankOnlyStartsPieces &= right != ' ' || left == ' ';
                if ((left | right) < Ascii)
                {
                    _asciiInPiece[(left * Ascii) + right] = true;
                }
                else
                {
                    int bit = Hash(left, right);
                    _otherInPiece[bit >> 6] |= 1UL << bit;
                }
            }
        }
    }

    /// <summary>End of the part of <paramref name="text"/> that begins at <paramref name="start"/>.</summary>
    public int Next(ReadOnlySpan<char> text, int start)
    {
        ref char first = ref MemoryMarshal.GetReference(text);
        ref bool asciiInPiece = ref MemoryMarshal.GetArrayDataReference(_asciiInPiece);
        int left = Unsafe.Add(ref first, start);
        int i = start + 1;
        for (; i < text.Length; i++)
        {
            int right = Unsafe.Add(ref first, i);
            if ((left | right) < Ascii)
            {
                if (!Unsafe.Add(ref asciiInPiece, (nint)(uint)((left * Ascii) + right)))
                {
                    break;
                }
            }
            else if (IsCut((char)left, (char)right))
            {
                break;
            }
            left = right;
        }
        return i;
    }

    bool IsCut(char left, char right)
    {
        left = Escaped(left);
        right = Escaped(right);
        if ((left | right) < Ascii)
        {
            return !_asciiInPiece[(left * Ascii) + right];
        }
        if (char.IsSurrogate(left) || char.IsSurrogate(right))
        {
            // A lone surrogate is encoded as U+FFFD, so its neighbours cannot be looked up; a pair must not be cut.
            return _blankOnlyStartsPieces && right == ' ';
        }
        int bit = Hash(left, right);
        return (_otherInPiece[bit >> 6] & (1UL << bit)) == 0;
    }

    // Blanks of the text and the symbol for them are the same character to the vocabulary.
    char Escaped(char c) => _escapeBlanks && c == SentencePieceModel.BlankSymbol ? ' ' : c;

    static int Hash(char left, char right) => (int)((((uint)left << 16) | right) * 0x9E3779B1 >> (32 - HashBits));
}
