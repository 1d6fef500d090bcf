namespace OpenElm.Checkpoints.Gguf;

/// <summary>Passes bytes on and puts zeros behind every part of so many bytes: gate and up come as one weight and are aligned each.</summary>
/// <param name="inner">Where the bytes go.</param>
/// <param name="part">Bytes of a part.</param>
/// <param name="padding">Zeros behind it.</param>
internal sealed class PaddedPartsStream(Stream inner, long part, int padding) : Stream
{
    readonly byte[] _zeros = new byte[padding];
    long _written;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => _written;

    public override long Position { get => _written; set => throw new NotSupportedException(); }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int passed = (int)Math.Min(buffer.Length, part - (_written % part));
            inner.Write(buffer[..passed]);
            _written += passed;
            if (_written % part == 0)
            {
                inner.Write(_zeros);
            }

            buffer = buffer[passed..];
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush() => inner.Flush();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
