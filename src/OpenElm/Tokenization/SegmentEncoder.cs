using System.Runtime.Intrinsics;

namespace OpenElm.Tokenization;

/// <summary>
/// Encodes one text as SentencePiece does. The text is cut where no piece can cross (<see cref="ChunkBoundaries"/>); each part is
/// merged by itself (<see cref="PieceMerger"/>) and short parts are remembered (<see cref="ChunkCache"/>).
/// </summary>
internal sealed class SegmentEncoder
{
    readonly SentencePieceModel _model;
    readonly PieceVocabulary _vocabulary;
    readonly MergeTable _table;
    readonly PieceMerger _merger;
    readonly ChunkBoundaries _boundaries;
    readonly ChunkCache _cache = new();
    readonly UserDefinedPieces? _userDefined;

    public SegmentEncoder(SentencePieceModel model, PieceIndex index, PieceVocabulary vocabulary)
    {
        _model = model;
        _vocabulary = vocabulary;
        _table = new MergeTable(model, index);
        _merger = new PieceMerger(_table, model.EscapeBlanks);
        _boundaries = new ChunkBoundaries(model);
        _userDefined = UserDefinedPieces.Of(model);
    }

    /// <summary>Appends the ids of <paramref name="text"/>.</summary>
    public void Encode(scoped ReadOnlySpan<char> text, ref IdSink sink)
    {
        if (text.IsEmpty)
        {
            return;
        }
        if (_model.RemoveExtraBlanks || _userDefined is not null || _table.HasUnused || !_model.ByteFallback)
        {
            // These need the whole normalized text, or remember what came before.
            foreach (EncodedPiece piece in EncodeWithOffsets(text))
            {
                sink.Add(piece.Id);
            }
            return;
        }
        int start = 0;
        if (_model.AddDummyPrefix)
        {
            start = _boundaries.Next(text, 0);
            EncodeFirst(text[..start], ref sink);
        }
        while (start < text.Length)
        {
            int end = _boundaries.Next(text, start);
            int length = end - start;
            if (length > ChunkCache.LongestChunk)
            {
                Merge(text.Slice(start, length), ref sink);
            }
            else
            {
                EncodeShort(text, start, length, ref sink);
            }
            start = end;
        }
    }

    void EncodeFirst(scoped ReadOnlySpan<char> chunk, ref IdSink sink)
    {
        int length = chunk.Length + 1;
        Span<char> prefixed = length <= 256 ? stackalloc char[256] : new char[length];
        prefixed[0] = ' ';
        chunk.CopyTo(prefixed[1..]);
        if (length > ChunkCache.LongestChunk)
        {
            Merge(prefixed[..length], ref sink);
        }
        else
        {
            EncodeShort(prefixed, 0, length, ref sink);
        }
    }

    void EncodeShort(scoped ReadOnlySpan<char> text, int start, int length, ref IdSink sink)
    {
        Vector256<ushort> key = ChunkCache.Key(text, start, length);
        ChunkCache.Entry? entry = _cache.Find(key, length);
        if (entry is null)
        {
            int from = sink.Count;
            Merge(text.Slice(start, length), ref sink);
            _cache.Remember(key, length, sink.From(from));
        }
        else if (entry.MoreIds is null)
        {
            sink.Add(entry.Ids, entry.Count);
        }
        else
        {
            sink.Add(entry.MoreIds);
        }
    }

    void Merge(scoped ReadOnlySpan<char> chunk, ref IdSink sink)
    {
        MergeScratch merged = _merger.Merge(chunk);
        Span<int> ids = stackalloc int[4];
        for (int i = 0; i < merged.Count; i++)
        {
            int count = _vocabulary.Write(merged.Symbols[i], chunk[merged.Starts[i]..merged.Starts[i + 1]], ids);
            sink.Add(ids[..count]);
        }
    }

    /// <summary>Encodes without cutting or remembering, and says where in the text each id comes from.</summary>
    public List<EncodedPiece> EncodeWithOffsets(ReadOnlySpan<char> text)
    {
        var pieces = new List<EncodedPiece>();
        if (text.IsEmpty)
        {
            return pieces;
        }
        NormalizedText normalized = NormalizedText.Of(text, _model);
        ReadOnlySpan<char> rest = normalized.Characters;
        int start = 0;
        while (start < rest.Length)
        {
            (int at, int id, int length) = _userDefined?.FindFirst(rest[start..]) ?? (rest.Length - start, 0, 0);
            if (at > 0)
            {
                AddMerged(rest.Slice(start, at), start, normalized, pieces);
            }
            start += at;
            if (length > 0)
            {
                Add(id, start, start + length, normalized, pieces);
                start += length;
            }
        }
        return pieces;
    }

    void AddMerged(ReadOnlySpan<char> run, int start, NormalizedText normalized, List<EncodedPiece> pieces)
    {
        MergeScratch merged = _merger.Merge(run);
        Span<int> ids = stackalloc int[4];
        for (int i = 0; i < merged.Count; i++)
        {
            (int from, int to) = (merged.Starts[i], merged.Starts[i + 1]);
            int count = _vocabulary.Write(merged.Symbols[i], run[from..to], ids);
            for (int k = 0; k < count - 1; k++)
            {
                Add(ids[k], start + from, start + from, normalized, pieces);
            }
            Add(ids[count - 1], start + from, start + to, normalized, pieces);
        }
    }

    void Add(int id, int from, int to, NormalizedText normalized, List<EncodedPiece> pieces)
    {
        int offset = normalized.Origins[from];
        var piece = new EncodedPiece(id, offset, normalized.Origins[to] - offset);
        // A run of unknown characters is one unknown piece.
        if (id == _vocabulary.UnknownId && pieces is [.., EncodedPiece last] && last.Id == id)
        {
            pieces[^1] = last with { Length = piece.Offset + piece.Length - last.Offset };
            return;
        }
        pieces.Add(piece);
    }
}
