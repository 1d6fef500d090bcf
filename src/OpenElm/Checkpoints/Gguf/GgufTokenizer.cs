using System.Collections.Immutable;
using System.Globalization;
using OpenElm.Tokenization;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>A vocabulary in GGUF's metadata (tokens, scores, types) ↔ the SentencePiece model that gives the same ids.</summary>
internal static class GgufTokenizer
{
    public const string SentencePiece = "llama", None = "none";

    /// <summary>Whether the file has a vocabulary that a SentencePiece model can express.</summary>
    public static bool IsIn(GgufMetadata metadata) => metadata.String(GgufKeys.TokenizerModel) == SentencePiece && metadata.Keys.Contains(GgufKeys.Tokens);

    /// <summary>Reads the vocabulary; pieces that only pad it to the rows of the embedding are dropped.</summary>
    /// <returns>The bytes of a <c>tokenizer.model</c>.</returns>
    /// <exception cref="OpenElmException">Its arrays do not fit each other.</exception>
    public static byte[] Read(GgufMetadata metadata, string path)
    {
        string[] tokens = metadata.Array<string>(GgufKeys.Tokens) ?? throw metadata.Missing(GgufKeys.Tokens);
        float[] scores = metadata.Array<float>(GgufKeys.Scores) ?? throw metadata.Missing(GgufKeys.Scores);
        int[] types = metadata.Array<int>(GgufKeys.TokenTypes) ?? throw metadata.Missing(GgufKeys.TokenTypes);
        if (scores.Length != tokens.Length || types.Length != tokens.Length)
        {
            throw new OpenElmException($"{path}: the vocabulary has {tokens.Length} tokens, {scores.Length} scores and {types.Length} types; there must be one of each a token.");
        }

        int count = tokens.Length;
        while (count > 0 && (PieceType)types[count - 1] == PieceType.Unused && tokens[count - 1] == PadPiece(count - 1))
        {
            count--;
        }

        var pieces = ImmutableArray.CreateBuilder<Piece>(count);
        for (int id = 0; id < count; id++)
        {
            pieces.Add(new Piece(tokens[id], scores[id], (PieceType)types[id]));
        }

        string NameOf(string key, int missing, string fallback) =>
            metadata.Int(key) is var id && (id ?? missing) is var index && index >= 0 && index < count ? tokens[index]
            : id is null or < 0 ? fallback
            : throw new OpenElmException($"{path}: {key} is {id}; the vocabulary has {count} tokens.");

        return SentencePieceModelWriter.Write(new SentencePieceModel
        {
            Pieces = pieces.MoveToImmutable(),
            ModelType = SentencePieceModel.BpeModelType,
            ByteFallback = types.Contains((int)PieceType.Byte),
            AddDummyPrefix = metadata.Bool(GgufKeys.AddSpacePrefix) ?? true,
            RemoveExtraBlanks = metadata.Bool(GgufKeys.RemoveExtraBlanks) ?? false,
            UnknownPiece = NameOf(GgufKeys.UnknownId, 0, "<unk>"),
            BosPiece = NameOf(GgufKeys.BosId, 1, "<s>"),
            EosPiece = NameOf(GgufKeys.EosId, 2, "</s>"),
            PadPiece = NameOf(GgufKeys.PaddingId, -1, "<pad>"),
        });
    }

    /// <summary>Adds a vocabulary, padded to the rows of the embedding; without a tokenizer, the key by which llama.cpp makes one of numbers only.</summary>
    /// <param name="metadata">Receives the keys.</param>
    /// <param name="tokenizer">A SentencePiece model, or null.</param>
    /// <param name="rows">Rows of the embedding.</param>
    /// <exception cref="OpenElmException">The tokenizer has more pieces than the model has rows, or llama.cpp cannot use it.</exception>
    public static void Write(GgufMetadataWriter metadata, ReadOnlyMemory<byte>? tokenizer, int rows)
    {
        if (tokenizer is not { } bytes)
        {
            metadata.String(GgufKeys.TokenizerModel, None);
            return;
        }

        SentencePieceTokenizer parsed = SentencePieceTokenizer.Parse(bytes.Span);
        SentencePieceModel model = parsed.Model;
        if (model.Pieces.Length > rows)
        {
            throw new OpenElmException($"The tokenizer has {model.Pieces.Length} pieces, the model only {rows} rows; they do not belong together.");
        }

        Piece[] pieces = [.. model.Pieces, .. Enumerable.Range(model.Pieces.Length, rows - model.Pieces.Length).Select(id => new Piece(PadPiece(id), -10000, PieceType.Unused))];
        metadata.String(GgufKeys.TokenizerModel, SentencePiece);
        metadata.String(GgufKeys.TokenizerPre, "default");
        metadata.Strings(GgufKeys.Tokens, [.. pieces.Select(piece => piece.Text)]);
        metadata.Floats(GgufKeys.Scores, [.. pieces.Select(piece => piece.Score)]);
        metadata.Ints(GgufKeys.TokenTypes, [.. pieces.Select(piece => (int)piece.Type)]);
        foreach ((string key, int id) in new[] { (GgufKeys.BosId, parsed.BosId), (GgufKeys.EosId, parsed.EosId), (GgufKeys.UnknownId, parsed.UnknownId) })
        {
            if (id >= 0)
            {
                metadata.UInt(key, (uint)id);
            }
        }

        if (parsed.PadId < model.Pieces.Length)
        {
            metadata.UInt(GgufKeys.PaddingId, (uint)parsed.PadId);
        }

        metadata.Bool(GgufKeys.AddBos, true);
        metadata.Bool(GgufKeys.AddEos, false);
        metadata.Bool(GgufKeys.AddSpacePrefix, model.AddDummyPrefix);
        if (model.RemoveExtraBlanks)
        {
            metadata.Bool(GgufKeys.RemoveExtraBlanks, true);
        }
    }

    static string PadPiece(int id) => string.Create(CultureInfo.InvariantCulture, $"[PAD{id}]");
}
