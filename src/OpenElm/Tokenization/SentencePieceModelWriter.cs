namespace OpenElm.Tokenization;

/// <summary>Writes a model in the file format of SentencePiece.</summary>
internal static class SentencePieceModelWriter
{
    public static byte[] Write(SentencePieceModel model)
    {
        ProtobufWriter file = new(), message = new();
        foreach (Piece piece in model.Pieces)
        {
            message.Clear();
            message.String(1, piece.Text);
            message.Single(2, piece.Score);
            if (piece.Type != PieceType.Normal)
            {
                message.Integer(3, (int)piece.Type);
            }
            file.Message(1, message);
        }
        file.Message(2, TrainerSpec(model));
        file.Message(3, NormalizerSpec(model));
        return file.ToArray();
    }

    static ProtobufWriter TrainerSpec(SentencePieceModel model)
    {
        int IdOf(string text, PieceType type)
        {
            for (int id = 0; id < model.Pieces.Length; id++)
            {
                if (model.Pieces[id].Text == text && model.Pieces[id].Type == type)
                {
                    return id;
                }
            }
            return -1;
        }

        var spec = new ProtobufWriter();
        spec.Integer(3, model.ModelType);
        spec.Integer(4, model.Pieces.Length);
        if (model.TrainedWith is BpeTrainerOptions options)
        {
            spec.Single(10, (float)options.CharacterCoverage);
            spec.Integer(20, options.MaxPieceLength);
            spec.Boolean(25, options.SplitDigits);
            spec.Boolean(26, options.MaxBlankRun > 1);
        }
        spec.Boolean(24, model.BlankAsSuffix);
        spec.Boolean(35, model.ByteFallback);
        spec.Integer(40, IdOf(model.UnknownPiece, PieceType.Unknown));
        spec.Integer(41, IdOf(model.BosPiece, PieceType.Control));
        spec.Integer(42, IdOf(model.EosPiece, PieceType.Control));
        spec.Integer(43, IdOf(model.PadPiece, PieceType.Control));
        spec.String(44, model.UnknownSurface);
        spec.String(45, model.UnknownPiece);
        spec.String(46, model.BosPiece);
        spec.String(47, model.EosPiece);
        spec.String(48, model.PadPiece);
        return spec;
    }

    static ProtobufWriter NormalizerSpec(SentencePieceModel model)
    {
        var spec = new ProtobufWriter();
        spec.String(1, "identity");
        spec.Bytes(2, []);
        spec.Boolean(3, model.AddDummyPrefix);
        spec.Boolean(4, model.RemoveExtraBlanks);
        spec.Boolean(5, model.EscapeBlanks);
        spec.String(6, "");
        return spec;
    }
}
