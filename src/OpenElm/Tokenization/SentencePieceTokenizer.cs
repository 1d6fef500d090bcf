using System.Text;

namespace OpenElm.Tokenization;

/// <summary>
/// Text to token ids and back by a SentencePiece BPE model (<c>tokenizer.model</c> of LLaMA, Mistral and OpenELM). Gives the same
/// ids as SentencePiece. One instance may be used by any number of threads.
/// </summary>
public sealed class SentencePieceTokenizer
{
    readonly byte[] _file;
    readonly SentencePieceModel _model;
    readonly PieceVocabulary _vocabulary;
    readonly SegmentEncoder _encoder;
    readonly UserDefinedPieces? _special;

    SentencePieceTokenizer(byte[] file)
    {
        _file = file;
        _model = SentencePieceModel.Parse(file);
        PieceIndex index = _model.Validated();
        _vocabulary = new PieceVocabulary(_model, index);
        _encoder = new SegmentEncoder(_model, index, _vocabulary);
        _special = UserDefinedPieces.Special(_model);
    }

    /// <summary>The model file, byte by byte.</summary>
    public ReadOnlyMemory<byte> ModelBytes => _file;

    internal SentencePieceModel Model => _model;

    /// <summary>Number of pieces; ids are below it.</summary>
    public int PieceCount => _model.Pieces.Length;

    /// <summary>Id of the unknown piece.</summary>
    public int UnknownId => _vocabulary.UnknownId;

    /// <summary>Id of the beginning of a sequence, or −1 if the model has none.</summary>
    public int BosId => _vocabulary.BosId;

    /// <summary>Id of the end of a sequence, or −1 if the model has none.</summary>
    public int EosId => _vocabulary.EosId;

    /// <summary>Id for padding: the model's own, or <see cref="PieceCount"/> if it has none (so did OpenELM's training).</summary>
    public int PadId => _vocabulary.PadId;

    /// <summary>Counts of pieces by kind, and the rules of the model.</summary>
    /// <returns>The summary.</returns>
    public TokenizerSummary Summarize() => TokenizerSummary.Of(_model);

    /// <summary>Loads a model file.</summary>
    /// <param name="path">The file, mostly named <c>tokenizer.model</c>.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="OpenElmException">The file cannot be read, is damaged, or is of a kind that is not supported.</exception>
    public static SentencePieceTokenizer Load(string path)
    {
        byte[] file;
        try
        {
            file = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"Cannot read the tokenizer {path}: {e.Message}", e);
        }
        try
        {
            return new SentencePieceTokenizer(file);
        }
        catch (OpenElmException e)
        {
            throw new OpenElmException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Reads a model file that is in memory.</summary>
    /// <param name="model">The bytes of the file.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="OpenElmException">The bytes are damaged or of a kind that is not supported.</exception>
    public static SentencePieceTokenizer Parse(ReadOnlySpan<byte> model) => new(model.ToArray());

    /// <summary>The text of a piece, with <c>▁</c> for a blank.</summary>
    /// <param name="id">Its id.</param>
    /// <returns>The text.</returns>
    public string PieceOf(int id)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(id, PieceCount);
        return _model.Pieces[id].Text;
    }

    /// <summary>The bytes that an id adds inside a text, UTF-8; byte pieces add one, control pieces and the unknown piece none.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The bytes, with a blank for <c>▁</c>.</returns>
    public byte[] SurfaceOf(int id)
    {
        string text = PieceOf(id);
        return _model.Pieces[id].Type switch
        {
            PieceType.Byte => [SentencePieceModel.ByteOf(text)!.Value],
            PieceType.Normal or PieceType.UserDefined or PieceType.Unused => Encoding.UTF8.GetBytes(text.Replace(SentencePieceModel.BlankSymbol, ' ')),
            _ => [],
        };
    }

    /// <summary>Whether a blank that begins the first piece of a text is not part of the text.</summary>
    public bool DropsFirstBlank => _model.AddDummyPrefix || _model.RemoveExtraBlanks;

    /// <summary>The id of a piece.</summary>
    /// <param name="piece">Its text, with <c>▁</c> for a blank.</param>
    /// <returns>The id, or null if there is no such piece.</returns>
    public int? IdOf(string piece) => _vocabulary.IdOf(piece);

    /// <summary>Encodes a text.</summary>
    /// <param name="text">The text; lone surrogates count as U+FFFD.</param>
    /// <param name="options">Null: no BOS, no EOS, special pieces are ordinary characters, no clean-up.</param>
    /// <returns>The ids.</returns>
    public int[] Encode(ReadOnlySpan<char> text, TokenizerOptions? options = null)
    {
        var ids = new List<int>(16 + (text.Length / 3));
        Encode(text, ids, options);
        return [.. ids];
    }

    /// <summary>Encodes a text and appends the ids; allocates nothing once the list is large enough and the words are known.</summary>
    /// <param name="text">The text; lone surrogates count as U+FFFD.</param>
    /// <param name="output">Where the ids go.</param>
    /// <param name="options">Null: no BOS, no EOS, special pieces are ordinary characters, no clean-up.</param>
    public void Encode(ReadOnlySpan<char> text, List<int> output, TokenizerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(output);
        options = Checked(options);
        text = options.CleanUp ? TextCleanup.FixText(text.ToString()) : text;
        var sink = new IdSink(output);
        if (options.AddBos)
        {
            sink.Add(BosId);
        }
        while (options.RecognizeSpecialPieces && _special?.FindFirst(text) is (int at, int id, > 0 and int length))
        {
            _encoder.Encode(text[..at], ref sink);
            sink.Add(id);
            text = text[(at + length)..];
        }
        _encoder.Encode(text, ref sink);
        if (options.AddEos)
        {
            sink.Add(EosId);
        }
        sink.Finish();
    }

    /// <summary>Encodes a text and says which characters each id stands for.</summary>
    /// <param name="text">The text; lone surrogates count as U+FFFD.</param>
    /// <param name="options">As in <see cref="Encode(ReadOnlySpan{char}, TokenizerOptions?)"/>; with clean-up, offsets count in the cleaned text.</param>
    /// <returns>The ids of <c>Encode</c>, each with its place.</returns>
    public IReadOnlyList<EncodedPiece> EncodeWithOffsets(ReadOnlySpan<char> text, TokenizerOptions? options = null)
    {
        options = Checked(options);
        text = options.CleanUp ? TextCleanup.FixText(text.ToString()) : text;
        var pieces = new List<EncodedPiece>();
        int start = 0;
        void AddSegment(List<EncodedPiece> segment) =>
            pieces.AddRange(segment.Select(piece => piece with { Offset = piece.Offset + start }));

        if (options.AddBos)
        {
            pieces.Add(new EncodedPiece(BosId, 0, 0));
        }
        while (options.RecognizeSpecialPieces && _special?.FindFirst(text[start..]) is (int at, int id, > 0 and int length))
        {
            AddSegment(_encoder.EncodeWithOffsets(text.Slice(start, at)));
            pieces.Add(new EncodedPiece(id, start + at, length));
            start += at + length;
        }
        AddSegment(_encoder.EncodeWithOffsets(text[start..]));
        if (options.AddEos)
        {
            pieces.Add(new EncodedPiece(EosId, text.Length, 0));
        }
        return pieces;
    }

    /// <summary>Decodes ids as SentencePiece does: control pieces are invisible, the leading blank is dropped.</summary>
    /// <param name="ids">The ids.</param>
    /// <returns>The text; byte pieces that make no character become U+FFFD.</returns>
    /// <exception cref="OpenElmException">An id is outside of the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var text = new StringBuilder();
        var decoder = new PieceDecoder(_model, _vocabulary);
        foreach (int id in ids)
        {
            decoder.Append(id, text);
        }
        decoder.Flush(text);
        return text.ToString();
    }

    /// <summary>Begins to decode a text whose ids come one by one.</summary>
    /// <returns>The decoder of that text.</returns>
    public StreamingDecoder CreateDecoder() => new(new PieceDecoder(_model, _vocabulary));

    TokenizerOptions Checked(TokenizerOptions? options)
    {
        options ??= TokenizerOptions.Plain;
        if (options.AddBos && BosId < 0)
        {
            throw new OpenElmException($"The tokenizer has no piece '{_model.BosPiece}' to begin with: encode without BOS.");
        }
        if (options.AddEos && EosId < 0)
        {
            throw new OpenElmException($"The tokenizer has no piece '{_model.EosPiece}' to end with: encode without EOS.");
        }
        return options;
    }
}
