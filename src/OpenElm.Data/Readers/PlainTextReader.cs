using System.Text;
using OpenElm.Data.Files;

namespace OpenElm.Data.Readers;

/// <summary>A text file is one document, byte for byte; only a byte-order mark is dropped.</summary>
internal sealed class PlainTextReader(DataFile file, Stream stream) : DocumentReader(file)
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    string _text = "";

    public override ReadOnlySpan<char> Text => _text;

    public override bool Read()
    {
        if (Record >= 0)
        {
            return false;
        }

        Record = 0;
        byte[] bytes;
        try
        {
            using var content = new MemoryStream();
            stream.CopyTo(content);
            bytes = content.ToArray();
        }
        catch (Exception e) when (Utf8LineReader.IsDamage(e))
        {
            throw new OpenElmException($"{File.Path} is corrupt or truncated: {e.Message.TrimEnd('.')}; fetch the file again.", e);
        }

        ReadOnlySpan<byte> text = bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsSpan(3) : bytes;
        if (text.IsEmpty)
        {
            throw new OpenElmException($"{File.Path} holds no text; give it some or take it out of data.sources.");
        }

        try
        {
            _text = Strict.GetString(text);
        }
        catch (DecoderFallbackException e)
        {
            throw new OpenElmException($"{File.Path} is not valid UTF-8 at byte {e.Index}; convert the file to UTF-8.", e);
        }

        return true;
    }

    public override void SkipTo(long record) => Record = Math.Max(Record, record - 1);

    public override void Dispose() => stream.Dispose();
}
