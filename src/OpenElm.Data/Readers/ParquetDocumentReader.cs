using System.Text;
using OpenElm.Data.Files;
using Parquet;
using Parquet.Schema;

namespace OpenElm.Data.Readers;

/// <summary>One string column of a parquet file. A row group's column is in memory at a time; other columns are not read.</summary>
internal sealed class ParquetDocumentReader : DocumentReader
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    // How the library maps strings and byte arrays; readers of the latter find text written without its logical type.
    static readonly Type[] TextTypes = [typeof(string), typeof(byte[]), typeof(ReadOnlyMemory<char>), typeof(ReadOnlyMemory<byte>)];

    readonly Stream _stream;
    readonly ParquetReader _parquet;
    readonly DataField _field;
    byte[]?[] _rows = [];
    int _row = -1;
    int _nextGroup;
    string _text = "";

    public ParquetDocumentReader(DataFile file, Stream stream)
        : base(file)
    {
        _stream = stream;
        _parquet = Attempt(() => ParquetReader.CreateAsync(stream, leaveStreamOpen: true));
        DataField[] fields = _parquet.Schema.GetDataFields();
        DataField field = fields.FirstOrDefault(column => column.Path.ToString() == file.TextKey)
            ?? throw new OpenElmException($"{file.Path} has no column '{file.TextKey}'; set text_key to one of its columns: {string.Join(", ", fields.Select(column => column.Path))}.");
        if (!TextTypes.Contains(field.ClrType) || field.IsArray)
        {
            throw new OpenElmException($"{file.Path} holds {field.ClrType.Name} in column '{file.TextKey}', not text; set text_key to a column of strings.");
        }

        // Asked for as bytes, because the library would turn invalid UTF-8 into U+FFFD without a word.
        _field = new DataField(field.Name, typeof(byte[]), field.IsNullable);
        _ = new ParquetSchema(_field);
    }

    public override ReadOnlySpan<char> Text => _text;

    public override bool Read()
    {
        while (++_row >= _rows.Length)
        {
            if (_nextGroup >= _parquet.RowGroupCount)
            {
                _row = _rows.Length;
                return false;
            }

            ReadGroup();
        }

        Record++;
        byte[] bytes = _rows[_row] ?? throw new OpenElmException($"{Where} has no text in column '{File.TextKey}': it is null.");
        try
        {
            _text = Strict.GetString(bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new OpenElmException($"{Where} holds a text that is not valid UTF-8 (byte {e.Index}).", e);
        }

        return true;
    }

    public override void SkipTo(long record)
    {
        while (_nextGroup < _parquet.RowGroupCount)
        {
            using ParquetRowGroupReader group = _parquet.OpenRowGroupReader(_nextGroup);
            if (Record + 1 + group.RowCount > record)
            {
                break;
            }

            Record += group.RowCount;
            _nextGroup++;
        }

        if (Record + 1 < record && _nextGroup < _parquet.RowGroupCount)
        {
            ReadGroup();
            _row = (int)(record - Record - 2);
            Record = record - 1;
        }
    }

    void ReadGroup()
    {
        int group = _nextGroup;
        _rows = [];
        _row = -1;
        _nextGroup = _parquet.RowGroupCount; // behind a damaged group, records could not be counted
        _rows = Attempt(async () =>
        {
            using ParquetRowGroupReader reader = _parquet.OpenRowGroupReader(group);
            var rows = new byte[]?[checked((int)reader.RowCount)];
            await reader.ReadAsync(_field, rows.AsMemory()).ConfigureAwait(false);
            return rows;
        });
        _nextGroup = group + 1;
    }

    /// <summary>Runs a call of the parquet library, whose exceptions for damaged files are of many types.</summary>
    T Attempt<T>(Func<Task<T>> call)
    {
        try
        {
            return call().GetAwaiter().GetResult();
        }
#pragma warning disable CA1031 // see the summary; the cause is kept
        catch (Exception e) when (e is not OutOfMemoryException)
#pragma warning restore CA1031
        {
            _stream.Dispose();
            throw new OpenElmException($"{File.Path} is corrupt or truncated after row {Record}, or no parquet file: {e.Message.TrimEnd('.')}; fetch the file again.", e);
        }
    }

    public override void Dispose()
    {
        _parquet.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _stream.Dispose();
    }
}
