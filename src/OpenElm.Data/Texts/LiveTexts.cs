using System.Buffers;
using System.Runtime.InteropServices;
using OpenElm.Data.Files;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Texts;

/// <summary>Reads a file and tokenizes it on the way: split, character filter, clean-up, tokens, token filter.</summary>
internal sealed class LiveTexts : FileTexts
{
    // Texts of these characters alone come out of the clean-up as they went in.
    static readonly SearchValues<char> Clean = SearchValues.Create(
        [.. Enumerable.Range(' ', 0x7F - ' ').Select(c => (char)c).Where(c => c != '&'), '\t', '\n']);

    readonly DataConfig _config;
    readonly ITextEncoder _encoder;
    readonly DataCounters _counters;
    readonly CancellationToken _cancel;
    readonly FileDocuments _documents;
    readonly List<int> _tokens = [];
    readonly int _skipGroups;
    readonly bool _countDropped;
    readonly long _startRecord;
    string? _cleaned;
    int _groupStart = -1;   // where the next group begins in the document; -1 when the document is used up
    int _group = -1;
    (int Start, int Length) _span;

    /// <summary>Opens a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="source">Where it comes from.</param>
    /// <param name="config">Filters and mode.</param>
    /// <param name="encoder">The tokenizer.</param>
    /// <param name="counters">Counts what is read and dropped.</param>
    /// <param name="onWarning">Told about every record that is skipped.</param>
    /// <param name="cancel">Ends the reading, also where the filters drop everything.</param>
    /// <param name="record">The first record to read.</param>
    /// <param name="group">Texts of that record to pass over without tokenizing them.</param>
    /// <param name="countDropped">Whether texts that the character filter drops are tokenized just to be counted.</param>
    public LiveTexts(DataFile file, IFileSource source, DataConfig config, ITextEncoder encoder, DataCounters counters,
        Action<string>? onWarning, CancellationToken cancel, long record = 0, int group = 0, bool countDropped = false)
    {
        (_config, _encoder, _counters, _cancel) = (config, encoder, counters, cancel);
        (_startRecord, _skipGroups, _countDropped) = (record, group, countDropped);
        _documents = new FileDocuments(file, source, config.OnBadRecord, counters, onWarning, record);
    }

    public override long Record => _documents.Record;

    public override int Group => _group;

    public override ReadOnlySpan<int> Tokens
    {
        get
        {
            ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(_tokens);
            return _config.Mode == DataMode.Faithful && tokens.Length > _config.SequenceLength ? tokens[..(_config.SequenceLength + 1)] : tokens;
        }
    }

    public override int TokenCount => _tokens.Count;

    /// <summary>The current text as it was tokenized, after clean-up.</summary>
    public ReadOnlySpan<char> Text => _cleaned ?? _documents.Text.Slice(_span.Start, _span.Length);

    public override bool Read()
    {
        while (true)
        {
            if (_groupStart < 0 && !ReadDocument())
            {
                return false;
            }

            NextGroup();
            if (_documents.Record == _startRecord && _group < _skipGroups)
            {
                continue;
            }

            _counters.Texts++;
            ReadOnlySpan<char> text = _documents.Text.Slice(_span.Start, _span.Length);
            if (!CharacterFilter.Passes(text, _config.MinCharactersPerText))
            {
                _counters.TextsTooShort++;
                _counters.CharactersTooShort += text.Length;
                if (_countDropped)
                {
                    Tokenize(text);
                    _counters.TokensDropped += _tokens.Count;
                }

                continue;
            }

            Tokenize(text);
            if (_tokens.Count < _config.MinTokensPerText || _tokens.Count == 0)
            {
                _counters.TextsTooFewTokens++;
                _counters.TokensDropped += _tokens.Count;
                continue;
            }

            return true;
        }
    }

    bool ReadDocument()
    {
        _cancel.ThrowIfCancellationRequested();
        if (!_documents.Read())
        {
            return false;
        }

        _groupStart = 0;
        _group = -1;
        if (_documents.Record != _startRecord || _skipGroups == 0)
        {
            _counters.Documents++;
            _counters.Characters += _documents.Text.Length;
        }

        return true;
    }

    void NextGroup()
    {
        ReadOnlySpan<char> rest = _documents.Text[_groupStart..];
        _group++;
        int length = rest.Length;
        if (_config.Mode == DataMode.Faithful)
        {
            var groups = new WordGroups(rest, _config.DocumentSplitSize);
            groups.MoveNext();
            length = groups.Current.Length;
        }

        _span = (_groupStart, length);
        _groupStart = length < rest.Length ? _groupStart + length + 1 : -1;
    }

    void Tokenize(ReadOnlySpan<char> text)
    {
        _cleaned = null;
        if (_config.CleanUp && text.ContainsAnyExcept(Clean))
        {
            text = _cleaned = _encoder.CleanUp(text.ToString());
        }

        _tokens.Clear();
        if (_config.AppendBos)
        {
            _tokens.Add(_encoder.BosId);
        }

        _encoder.Encode(text, _tokens);
        if (_config.AppendEos)
        {
            _tokens.Add(_encoder.EosId);
        }
    }

    public override void Dispose() => _documents.Dispose();
}
