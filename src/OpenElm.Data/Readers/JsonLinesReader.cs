using System.Text;
using System.Text.Json;
using OpenElm.Data.Files;

namespace OpenElm.Data.Readers;

/// <summary>
/// One JSON object a line; its text is the string under <see cref="DataFile.TextKey"/>. The whole line is checked, but only that
/// string is decoded. A key given twice counts the last time, as in Python. Blank lines are no records.
/// </summary>
internal sealed class JsonLinesReader(DataFile file, Stream stream) : DocumentReader(file)
{
    readonly byte[] _key = Encoding.UTF8.GetBytes(file.TextKey);
    readonly Utf8LineReader _lines = new(stream, file.Path);
    char[] _text = new char[1 << 14];
    int _length;

    public override ReadOnlySpan<char> Text => _text.AsSpan(0, _length);

    public override bool Read()
    {
        while (_lines.TryRead(out ReadOnlySpan<byte> line))
        {
            Record++;
            if (line.ContainsAnyExcept(" \t\r"u8))
            {
                Parse(line);
                return true;
            }
        }

        return false;
    }

    public override void SkipTo(long record)
    {
        while (Record + 1 < record && _lines.TryRead(out _))
        {
            Record++;
        }
    }

    void Parse(ReadOnlySpan<byte> line)
    {
        var json = new Utf8JsonReader(line);
        Utf8JsonReader value = default;
        bool found = false;
        try
        {
            json.Read();
            if (json.TokenType != JsonTokenType.StartObject)
            {
                throw new OpenElmException($"{Where} is not a JSON object; every line must be one.");
            }

            while (json.Read())
            {
                if (json.TokenType != JsonTokenType.PropertyName)
                {
                    continue;
                }

                bool isText = json.ValueTextEquals(_key);
                json.Read();
                if (isText)
                {
                    value = json;
                    found = true;
                }

                json.Skip();
            }
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"{Where} is not valid JSON at byte {e.BytePositionInLine}: it is damaged or cut off.", e);
        }
        catch (InvalidOperationException e)
        {
            throw new OpenElmException($"{Where} holds a key that is not valid UTF-8.", e);
        }

        if (!found)
        {
            throw new OpenElmException($"{Where} has no key '{File.TextKey}'; set text_key to the key that holds the text.");
        }

        if (value.TokenType != JsonTokenType.String)
        {
            throw new OpenElmException($"{Where} has no text under '{File.TextKey}': its value is {Kind(value.TokenType)}, not a string.");
        }

        Decode(ref value);
    }

    void Decode(ref Utf8JsonReader value)
    {
        // A string has at most one UTF-16 unit for each of its bytes.
        if (_text.Length < value.ValueSpan.Length)
        {
            _text = new char[Math.Max(value.ValueSpan.Length, (int)Math.Min(2L * _text.Length, Array.MaxLength))];
        }

        try
        {
            _length = value.CopyString(_text);
        }
        catch (InvalidOperationException e)
        {
            // Also thrown for an escaped half of a surrogate pair, which Python's JSON allows.
            _length = JsonEscapes.Decode(value.ValueSpan, _text);
            if (_length < 0)
            {
                throw new OpenElmException($"{Where} holds a text that is not valid UTF-8.", e);
            }
        }
    }

    static string Kind(JsonTokenType type) => type switch
    {
        JsonTokenType.Null => "null",
        JsonTokenType.Number => "a number",
        JsonTokenType.True or JsonTokenType.False => "a truth value",
        JsonTokenType.StartArray => "an array",
        _ => "an object",
    };

    public override void Dispose() => _lines.Dispose();
}
