namespace OpenElm.Data.Readers;

/// <summary>The compressed bytes of a gzip file, with a memory of what was fed last so that it can be taken back.</summary>
internal sealed class GzipInput(Stream file) : ForwardOnlyStream
{
    const int Chunk = 1 << 14;
    const int LookAhead = 16; // the trailer and the beginning of the next header

    readonly byte[] _buffer = new byte[(2 * Chunk) + LookAhead];
    int _fed;       // where the last feeding began
    int _next;
    int _end;

    public bool AtEnd => _next == _end && !Fill();

    public byte NextByte() => AtEnd ? throw new InvalidDataException("the gzip header ends early") : _buffer[_next++];

    public override int Read(Span<byte> buffer)
    {
        if (AtEnd)
        {
            return 0; // what was fed last stays known
        }

        int count = Math.Min(Math.Min(buffer.Length, Chunk), _end - _next);
        _fed = _next;
        _next += count;
        _buffer.AsSpan(_fed, count).CopyTo(buffer);
        return count;
    }

    /// <summary>Looks for the trailer in the last feeding and right behind it, and goes on after it.</summary>
    public bool MoveBehind(ReadOnlySpan<byte> trailer)
    {
        while (_end - _next < LookAhead && Fill())
        {
        }

        for (int at = _fed; at + trailer.Length <= Math.Min(_end, _next + trailer.Length); at++)
        {
            int behind = at + trailer.Length;
            bool continues = behind == _end || _buffer.AsSpan(behind, _end - behind).StartsWith([(byte)0x1F, (byte)0x8B]);
            if (continues && _buffer.AsSpan(at).StartsWith(trailer))
            {
                _next = _fed = behind;
                return true;
            }
        }

        return false;
    }

    /// <summary>Reads on behind <see cref="_end"/>; keeps everything from the last feeding on.</summary>
    bool Fill()
    {
        if (_fed > 0)
        {
            _buffer.AsSpan(_fed, _end - _fed).CopyTo(_buffer);
            _next -= _fed;
            _end -= _fed;
            _fed = 0;
        }

        int read = file.Read(_buffer, _end, Math.Min(Chunk, _buffer.Length - _end));
        _end += read;
        return read > 0;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            file.Dispose();
        }

        base.Dispose(disposing);
    }
}
