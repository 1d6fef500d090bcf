namespace OpenElm.Data.Texts;

/// <summary>What the pipeline asks of a tokenizer. Two implementations: SentencePiece, and bytes in tests.</summary>
internal interface ITextEncoder
{
    int BosId { get; }

    int EosId { get; }

    /// <summary>Fills short sequences; the loss ignores it.</summary>
    int PadId { get; }

    /// <summary>No id is above <see cref="PadId"/> or <see cref="PieceCount"/> - 1.</summary>
    int PieceCount { get; }

    /// <summary>Changes when the encoding of some text may change.</summary>
    string Fingerprint { get; }

    /// <summary>Appends the pieces of <paramref name="text"/>, without BOS and EOS.</summary>
    void Encode(ReadOnlySpan<char> text, List<int> output);

    /// <summary>The text of some pieces.</summary>
    string Decode(ReadOnlySpan<int> tokens);

    /// <summary>The text as clean-up leaves it.</summary>
    string CleanUp(string text);
}
