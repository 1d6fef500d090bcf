using OpenElm.Data.Files;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Batches;

/// <summary>
/// Texts one after the other, cut into sequences that overlap by one token, so that every token but the stream's first is a
/// target exactly once. What is carried over is the end of one record, so a place in that record is the whole state.
/// </summary>
internal sealed class PackedSequences : ShardSequences
{
    readonly Queue<Segment> _segments = new(); // the records that the carried tokens come from, in order
    readonly ShardPosition _start;
    int[] _tokens = new int[1 << 12];
    int _first;             // carried tokens lie in [_first, _end)
    int _end;
    int _usedOfSegment;     // tokens of the first segment that lie before _first
    bool _fresh;            // nothing was read yet in this stream, not even before a resume
    bool _resuming;

    public PackedSequences(ShardTexts texts, DataCounters counters, ShardPosition start)
        : base(texts, counters)
    {
        Position = _start = start;
        _resuming = start.Offset > 0;
        _fresh = start with { Batches = 0 } == default;
    }

    readonly record struct Segment(long Epoch, int FileIndex, DataFile File, long Record, int FirstToken, int Tokens);

    public override (DataFile File, long Record) Next(Span<int> row)
    {
        while (_end - _first < row.Length)
        {
            Append();
        }

        _tokens.AsSpan(_first, row.Length).CopyTo(row);
        Segment origin = _segments.Peek();

        // A sequence's first token was counted as the last of the one before it.
        Counters.TokensKept += row.Length - (_fresh ? 0 : 1);
        _fresh = false;
        Use(row.Length - 1);
        return (origin.File, origin.Record);
    }

    void Append()
    {
        Texts.MoveNext();
        ReadOnlySpan<int> tokens = Texts.Current.Tokens;
        int used = _resuming ? UsedBefore(tokens.Length) : 0;
        _resuming = false;
        tokens = tokens[used..];
        MakeRoom(tokens.Length);
        tokens.CopyTo(_tokens.AsSpan(_end));
        _end += tokens.Length;
        _segments.Enqueue(new Segment(Texts.Epoch, Texts.FileIndex, Texts.File, Texts.Current.Record, used, tokens.Length));
    }

    int UsedBefore(int tokens) => Texts.Current.Record == _start.Record && _start.Offset < tokens
        ? (int)_start.Offset
        : throw new OpenElmException(
            $"The data position names token {_start.Offset} of {DocumentReader.Place(Texts.File, _start.Record)}, which is not there; the file has changed since, restore it or start a new run.");

    void MakeRoom(int tokens)
    {
        if (_end + tokens <= _tokens.Length)
        {
            return;
        }

        int carried = _end - _first;
        int[] target = carried + tokens <= _tokens.Length ? _tokens : new int[checked((carried + tokens) * 2)];
        _tokens.AsSpan(_first, carried).CopyTo(target);
        (_tokens, _first, _end) = (target, 0, carried);
    }

    void Use(int count)
    {
        _first += count;
        _usedOfSegment += count;
        while (_usedOfSegment >= _segments.Peek().Tokens) // the row's last token stays, and with it a segment
        {
            _usedOfSegment -= _segments.Dequeue().Tokens;
        }

        Segment segment = _segments.Peek();
        Position = new ShardPosition(0, segment.Epoch, segment.FileIndex, segment.Record, segment.FirstToken + _usedOfSegment);
    }
}
