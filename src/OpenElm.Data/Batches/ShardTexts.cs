using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Batches;

/// <summary>The endless texts of one shard: its files again and again, each epoch in its own order.</summary>
internal sealed class ShardTexts : IDisposable
{
    readonly DataContext _context;
    readonly int _shard;
    readonly DataCounters _counters;
    readonly CancellationToken _cancel;
    DataFile[] _files;
    FileTexts? _texts;
    long _record;           // where the next file opened starts; 0 except right after a resume
    int _group;
    bool _wholePass;        // this epoch was read from its beginning
    bool _anyText;

    public ShardTexts(DataContext context, int shard, DataCounters counters, ShardPosition start, CancellationToken cancel)
    {
        (_context, _shard, _counters, _cancel) = (context, shard, counters, cancel);
        Epoch = start.Epoch;
        FileIndex = start.File;
        _files = context.Shards.InEpoch(shard, Epoch);
        if (FileIndex < 0 || FileIndex >= _files.Length)
        {
            throw new OpenElmException("The data position is damaged: it names a file that its shard does not have; resume from another checkpoint.");
        }

        _record = start.Record;
        _group = context.Config.Mode == DataMode.Faithful ? (int)start.Offset : 0;
        _wholePass = start with { Batches = 0, Epoch = 0 } == default;
    }

    public long Epoch { get; private set; }

    public int FileIndex { get; private set; }

    public DataFile File => _files[FileIndex];

    /// <summary>The current text's place and tokens.</summary>
    public FileTexts Current => _texts!;

    /// <summary>Goes to the shard's next text.</summary>
    /// <exception cref="OpenElmException">A whole pass gave none, so waiting for one would be endless.</exception>
    public void MoveNext()
    {
        while (true)
        {
            if (_texts is null)
            {
                _texts = _context.Open(File, _counters, _record, _group, _cancel);
                (_record, _group) = (0, 0);
            }

            if (_texts.Read())
            {
                _anyText = true;
                return;
            }

            _texts.Dispose();
            _texts = null;
            if (++FileIndex == _files.Length)
            {
                NextEpoch();
            }
        }
    }

    void NextEpoch()
    {
        if (_wholePass && !_anyText)
        {
            throw new OpenElmException(
                $"Shard {_shard} has no text to give: nothing in its {_files.Length} file(s) ({_files[0].Path}, …) passes the filters; lower data.min_tokens_per_text or data.min_characters_per_text, or use fewer data.shards.");
        }

        (_wholePass, _anyText) = (true, false);
        Epoch++;
        FileIndex = 0;
        _files = _context.Shards.InEpoch(_shard, Epoch);
    }

    public void Dispose() => _texts?.Dispose();
}
