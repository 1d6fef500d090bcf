using ZstdSharp;

namespace OpenElm.Data.Readers;

/// <summary>
/// Cuts a stream of bytes at line feeds, and only there: texts hold U+2028 and U+0085. A buffer that grows to the longest line;
/// a line is handed out where it lies.
/// </summary>
internal sealed class Utf8LineReader(Stream stream, string path, int bufferSize = 1 << 16) : IDisposable
{
    byte[] _buffer = new byte[bufferSize];
    int _start;     // first byte that was not handed out
    int _scanned;   // no line feed lies in [_start, _scanned)
    int _end;
    bool _atEnd;
    bool _atBeginning = true;

    /// <summary>Lines handed out or skipped.</summary>
    public long Lines { get; private set; }

    /// <summary>The next line without its line feed; false at the end. The span is valid until the next call.</summary>
    public bool TryRead(out ReadOnlySpan<byte> line)
    {
        while (true)
        {
            int feed = _buffer.AsSpan(_scanned, _end - _scanned).IndexOf((byte)'\n');
            if (feed >= 0)
            {
                line = _buffer.AsSpan(_start, _scanned + feed - _start);
                _start = _scanned = _scanned + feed + 1;
                Lines++;
                return true;
            }

            _scanned = _end;
            if (!Fill())
            {
                line = _buffer.AsSpan(_start, _end - _start);
                _start = _scanned = _end;
                Lines += line.IsEmpty ? 0 : 1;
                return !line.IsEmpty;
            }
        }
    }

    bool Fill()
    {
        if (_atEnd)
        {
            return false;
        }

        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _scanned -= _start;
            _end -= _start;
            _start = 0;
        }

        if (_end == _buffer.Length)
        {
            if (_buffer.Length == Array.MaxLength)
            {
                throw new OpenElmException($"{path} line {Lines + 1} is longer than {Array.MaxLength} bytes; cut it into several documents.");
            }

            Array.Resize(ref _buffer, (int)Math.Min(2L * _buffer.Length, Array.MaxLength));
        }

        int read;
        try
        {
            read = stream.Read(_buffer, _end, _buffer.Length - _end);
        }
        catch (Exception e) when (IsDamage(e))
        {
            _atEnd = true;
            _start = _scanned = _end; // what follows the last whole line cannot be trusted
            throw new OpenElmException($"{path} is corrupt or truncated after line {Lines}: {e.Message.TrimEnd('.')}; fetch the file again.", e);
        }

        _atEnd = read == 0;
        _end += read;
        if (_atBeginning && (_end >= 3 || _atEnd))
        {
            _atBeginning = false;
            if (_buffer.AsSpan(0, _end).StartsWith("\uFEFF"u8))
            {
                _start = _scanned = 3;
            }
        }

        return read > 0;
    }

    /// <summary>Whether an exception of a decompressor or disk means that the file is damaged.</summary>
    public static bool IsDamage(Exception e) => e is InvalidDataException or IOException or ZstdException;

    public void Dispose() => stream.Dispose();
}
