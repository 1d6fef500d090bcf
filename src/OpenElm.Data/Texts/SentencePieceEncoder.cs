using OpenElm.Tokenization;

namespace OpenElm.Data.Texts;

/// <summary>The project's tokenizer as the pipeline uses it.</summary>
internal sealed class SentencePieceEncoder(SentencePieceTokenizer tokenizer) : ITextEncoder
{
    public int BosId => tokenizer.BosId;

    public int EosId => tokenizer.EosId;

    public int PadId => tokenizer.PadId;

    public int PieceCount => tokenizer.PieceCount;

    public string Fingerprint { get; } = DataFingerprint.Hash(tokenizer.ModelBytes.Span);

    public void Encode(ReadOnlySpan<char> text, List<int> output) => tokenizer.Encode(text, output);

    public string Decode(ReadOnlySpan<int> tokens) => tokenizer.Decode(tokens);

    public string CleanUp(string text) => TextCleanup.FixText(text);
}
