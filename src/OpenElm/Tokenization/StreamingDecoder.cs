using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Decodes ids as they come. A character that is spread over several byte pieces comes out with its last byte, so no part of the
/// output is ever broken; all parts together are what <see cref="SentencePieceTokenizer.Decode"/> gives. For one thread.
/// </summary>
public sealed class StreamingDecoder
{
    readonly PieceDecoder _decoder;
    readonly StringBuilder _text = new();

    internal StreamingDecoder(PieceDecoder decoder) => _decoder = decoder;

    /// <summary>Whether no character came yet, so that a blank that begins the next piece may be dropped.</summary>
    public bool IsAtStart => _decoder.IsAtStart;

    /// <summary>Decodes the next id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The characters that are certain now; may be empty.</returns>
    public string Append(int id)
    {
        _text.Clear();
        _decoder.Append(id, _text);
        return _text.ToString();
    }

    /// <summary>Ends the text.</summary>
    /// <returns>A replacement character for each byte that never became part of a whole character; mostly empty.</returns>
    public string Flush()
    {
        _text.Clear();
        _decoder.Flush(_text);
        return _text.ToString();
    }
}
