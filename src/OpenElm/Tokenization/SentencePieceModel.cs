using System.Collections.Immutable;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>What a piece is; the numbers are those of the file format.</summary>
internal enum PieceType
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>One entry of the vocabulary; its id is its position.</summary>
/// <param name="Text">The characters, with <c>▁</c> for a blank.</param>
/// <param name="Score">Pairs that make a piece of a higher score are merged first.</param>
/// <param name="Type">What the piece is.</param>
internal readonly record struct Piece(string Text, float Score, PieceType Type);

/// <summary>
/// The content of a SentencePiece model file, as far as encoding and decoding need it. Defaults are those of the file format.
/// </summary>
internal sealed record SentencePieceModel
{
    /// <summary>The character that stands for a blank inside pieces.</summary>
    public const char BlankSymbol = '▁';

    /// <summary>The number that the format gives to byte-pair models.</summary>
    public const int BpeModelType = 2;

    public ImmutableArray<Piece> Pieces { get; init; } = [];

    public int ModelType { get; init; } = 1;

    public bool ByteFallback { get; init; }

    public bool BlankAsSuffix { get; init; }

    public string UnknownPiece { get; init; } = "<unk>";

    public string BosPiece { get; init; } = "<s>";

    public string EosPiece { get; init; } = "</s>";

    public string PadPiece { get; init; } = "<pad>";

    /// <summary>What an unknown piece is decoded to.</summary>
    public string UnknownSurface { get; init; } = " \u2047 ";

    public string NormalizerName { get; init; } = "";

    public bool HasCharacterMap { get; init; }

    public bool HasDenormalizer { get; init; }

    public bool AddDummyPrefix { get; init; } = true;

    public bool RemoveExtraBlanks { get; init; } = true;

    public bool EscapeBlanks { get; init; } = true;

    /// <summary>Settings of the training, written for other programs to read; not used by encoding.</summary>
    public BpeTrainerOptions? TrainedWith { get; init; }

    /// <summary>Byte value of a piece such as <c>&lt;0x41&gt;</c>, or null.</summary>
    public static byte? ByteOf(string piece) =>
        piece is ['<', '0', 'x', _, _, '>'] && HexDigit(piece[3]) is int high && HexDigit(piece[4]) is int low
            ? (byte)((high << 4) | low)
            : null;

    static int? HexDigit(char c) => c switch
    {
        >= '0' and <= '9' => c - '0',
        >= 'A' and <= 'F' => c - 'A' + 10,
        _ => null,
    };

    public static SentencePieceModel Parse(ReadOnlySpan<byte> file)
    {
        var pieces = ImmutableArray.CreateBuilder<Piece>();
        var model = new SentencePieceModel();
        var reader = new ProtobufReader(file);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: pieces.Add(ParsePiece(reader.Bytes(), pieces.Count)); break;
                case 2: model = ParseTrainerSpec(reader.Bytes(), model); break;
                case 3: model = ParseNormalizerSpec(reader.Bytes(), model); break;
                case 5: model = model with { HasDenormalizer = ParseNormalizerSpec(reader.Bytes(), new()).HasCharacterMap }; break;
                default: reader.Skip(); break;
            }
        }
        return model with { Pieces = pieces.DrainToImmutable() };
    }

    static Piece ParsePiece(ReadOnlySpan<byte> message, int id)
    {
        string text = "";
        float score = 0;
        long type = (long)PieceType.Normal;
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: text = Text(reader.Bytes(), $"piece {id}"); break;
                case 2: score = reader.Single(); break;
                case 3: type = reader.Integer(); break;
                default: reader.Skip(); break;
            }
        }
        return new Piece(text, score, type is >= 0 and <= int.MaxValue ? (PieceType)type : 0);
    }

    static SentencePieceModel ParseTrainerSpec(ReadOnlySpan<byte> message, SentencePieceModel model)
    {
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 3: model = model with { ModelType = (int)reader.Integer() }; break;
                case 24: model = model with { BlankAsSuffix = reader.Boolean() }; break;
                case 35: model = model with { ByteFallback = reader.Boolean() }; break;
                case 44: model = model with { UnknownSurface = Text(reader.Bytes(), "unk_surface") }; break;
                case 45: model = model with { UnknownPiece = NameOr("<unk>", reader.Bytes()) }; break;
                case 46: model = model with { BosPiece = NameOr("<s>", reader.Bytes()) }; break;
                case 47: model = model with { EosPiece = NameOr("</s>", reader.Bytes()) }; break;
                case 48: model = model with { PadPiece = NameOr("<pad>", reader.Bytes()) }; break;
                default: reader.Skip(); break;
            }
        }
        return model;
    }

    static SentencePieceModel ParseNormalizerSpec(ReadOnlySpan<byte> message, SentencePieceModel model)
    {
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: model = model with { NormalizerName = Text(reader.Bytes(), "normalizer name") }; break;
                case 2: model = model with { HasCharacterMap = !reader.Bytes().IsEmpty }; break;
                case 3: model = model with { AddDummyPrefix = reader.Boolean() }; break;
                case 4: model = model with { RemoveExtraBlanks = reader.Boolean() }; break;
                case 5: model = model with { EscapeBlanks = reader.Boolean() }; break;
                default: reader.Skip(); break;
            }
        }
        return model;
    }

    static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    // SentencePiece takes an empty name of a special piece for its default.
    static string NameOr(string fallback, ReadOnlySpan<byte> bytes) =>
        bytes.IsEmpty ? fallback : Text(bytes, "the name of a special piece");

    static string Text(ReadOnlySpan<byte> bytes, string what)
    {
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (ArgumentException e)
        {
            throw new OpenElmException($"not a SentencePiece model, or a damaged one: {what} is not valid UTF-8", e);
        }
    }

    /// <summary>Reports everything that keeps this program from encoding as SentencePiece would.</summary>
    /// <returns>The pieces by their text.</returns>
    /// <exception cref="OpenElmException">Something does; all of it is listed.</exception>
    public PieceIndex Validated()
    {
        var problems = new List<string>();
        if (ModelType != BpeModelType)
        {
            string name = ModelType switch { 1 => "unigram", 3 => "word", 4 => "char", _ => "unknown" };
            problems.Add($"it is of type {name} ({ModelType}); only BPE models (2) are supported");
        }
        if (HasCharacterMap || HasDenormalizer)
        {
            problems.Add($"it normalizes text by the rule '{NormalizerName}'; only the identity rule is supported");
        }
        if (BlankAsSuffix)
        {
            problems.Add("it marks the end of words (treat_whitespace_as_suffix); only the mark at the start is supported");
        }
        PieceIndex index = ValidatePieces(problems);
        return problems is [] ? index : throw OpenElmException.Of("unusable SentencePiece model", problems);
    }

    PieceIndex ValidatePieces(List<string> problems)
    {
        const int Shown = 8;
        var index = new PieceIndex(Pieces);
        var bytes = new HashSet<byte>();
        int unknown = 0;
        var bad = new List<string>();
        for (int id = 0; id < Pieces.Length; id++)
        {
            Piece piece = Pieces[id];
            if (piece.Type is < PieceType.Normal or > PieceType.Byte)
            {
                bad.Add($"piece {id} has the type {(int)piece.Type}, which does not exist");
            }
            else if (piece.Text.Length == 0)
            {
                bad.Add($"piece {id} is empty");
            }
            else if (!index.TryAdd(id))
            {
                bad.Add($"piece {id} '{piece.Text}' is there twice");
            }
            if (!float.IsFinite(piece.Score))
            {
                bad.Add($"piece {id} has the score {piece.Score}");
            }
            if (piece.Type == PieceType.Unknown)
            {
                unknown++;
            }
            if (piece.Type == PieceType.Byte)
            {
                if (ByteOf(piece.Text) is byte value)
                {
                    bytes.Add(value);
                }
                else
                {
                    bad.Add($"byte piece {id} '{piece.Text}' is not of the form <0x41>");
                }
            }
        }
        problems.AddRange(bad.Take(Shown));
        if (bad.Count > Shown)
        {
            problems.Add($"and {bad.Count - Shown} more such pieces");
        }
        if (unknown != 1)
        {
            problems.Add($"it has {unknown} pieces of type unknown instead of one");
        }
        if (ByteFallback && bytes.Count != 256)
        {
            problems.Add($"it says byte fallback and has {bytes.Count} of the 256 byte pieces");
        }
        if (!ByteFallback && bytes.Count > 0)
        {
            problems.Add("it has byte pieces and does not say byte fallback");
        }

        return index;
    }
}
