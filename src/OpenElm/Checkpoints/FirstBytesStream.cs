namespace OpenElm.Checkpoints;

/// <summary>Passes on the first bytes that are written to it and drops the rest.</summary>
/// <param name="inner">Where the bytes go.</param>
/// <param name="limit">How many.</param>
internal sealed class FirstBytesStream(Stream inner, long limit) : Stream
{
    long _written;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => _written;

    public override long Position { get => _written; set => throw new NotSupportedException(); }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        int passed = (int)Math.Min(buffer.Length, limit - _written);
        inner.Write(buffer[..passed]);
        _written += passed;
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush() => inner.Flush();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
