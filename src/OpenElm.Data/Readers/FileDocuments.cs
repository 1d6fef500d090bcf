using OpenElm.Data.Files;

namespace OpenElm.Data.Readers;

/// <summary>The documents of one file under a policy for what cannot be read: the one place that skips.</summary>
internal sealed class FileDocuments : IDisposable
{
    readonly DataFile _file;
    readonly BadRecordPolicy _policy;
    readonly DataCounters _counters;
    readonly Action<string>? _onWarning;
    readonly DocumentReader? _reader;
    bool _anyRecord;

    /// <summary>Opens a file at a record.</summary>
    /// <param name="file">The file.</param>
    /// <param name="source">Where it comes from.</param>
    /// <param name="policy">Whether a bad record is an error.</param>
    /// <param name="counters">Counts what is skipped.</param>
    /// <param name="onWarning">Told about every record that is skipped.</param>
    /// <param name="record">The first record to read.</param>
    public FileDocuments(DataFile file, IFileSource source, BadRecordPolicy policy, DataCounters counters, Action<string>? onWarning, long record = 0)
    {
        (_file, _policy, _counters, _onWarning) = (file, policy, counters, onWarning);
        _anyRecord = record > 0;
        try
        {
            _reader = DocumentFormat.Open(file, source);
            _reader.SkipTo(record);
        }
        catch (OpenElmException e) when (Skips(e))
        {
            _anyRecord = true;
        }
    }

    /// <summary>The current record.</summary>
    public long Record => _reader!.Record;

    /// <summary>The current document. Valid until the next read.</summary>
    public ReadOnlySpan<char> Text => _reader!.Text;

    /// <summary>Goes to the next document that can be read; false at the end.</summary>
    public bool Read()
    {
        while (_reader is not null)
        {
            try
            {
                if (_reader.Read())
                {
                    _anyRecord = true;
                    return true;
                }

                return _anyRecord ? false : throw new OpenElmException($"{_file.Path} holds no documents; give it some or take it out of data.sources.");
            }
            catch (OpenElmException e) when (Skips(e))
            {
                _anyRecord = true;
            }
        }

        return false;
    }

    bool Skips(OpenElmException problem)
    {
        if (_policy == BadRecordPolicy.Fail)
        {
            return false;
        }

        _counters.BadRecords++;
        _onWarning?.Invoke($"Skipped: {problem.Message}");
        return true;
    }

    public void Dispose() => _reader?.Dispose();
}
