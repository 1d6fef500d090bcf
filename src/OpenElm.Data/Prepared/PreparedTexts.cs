using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Prepared;

/// <summary>The texts of one corpus file, read from its prepared pieces.</summary>
internal sealed class PreparedTexts(PreparedFolder folder, DataFile file, DataCounters counters, long record, int group) : FileTexts
{
    readonly ImmutableArray<PreparedPieceInfo> _pieces = folder.PiecesOf(file);
    PreparedPiece? _piece;
    int _nextPiece;
    int _nextText;
    TextEntry _entry;
    int[] _tokens = [];

    public override long Record => _entry.Record;

    public override int Group => _entry.Group;

    public override ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, _entry.Stored);

    public override int TokenCount => _entry.TokenCount;

    public override bool Read()
    {
        while (_piece is null || _nextText == _piece.Texts)
        {
            _piece?.Dispose();
            _piece = null;
            if (_nextPiece == _pieces.Length)
            {
                return false;
            }

            _piece = folder.Open(_pieces[_nextPiece++]);
            _nextText = _piece.Find(record, group);
        }

        _entry = _piece[_nextText++];
        if (_tokens.Length < _entry.Stored)
        {
            _tokens = new int[Math.Max(_entry.Stored, 2 * _tokens.Length)];
        }

        _piece.CopyTokens(_entry, _tokens.AsSpan(0, _entry.Stored));
        counters.Texts++;
        return true;
    }

    public override void Dispose() => _piece?.Dispose();
}
