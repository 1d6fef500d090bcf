namespace OpenElm.Tokenization;

/// <summary>A text with the blanks as the vocabulary has them.</summary>
/// <param name="Characters">Blanks replaced by the symbol for them, the dummy prefix in front, extra blanks removed if the model says so.</param>
/// <param name="Origins">[Characters.Length + 1] index in the original text of each character; the last entry is the end.</param>
internal readonly record struct NormalizedText(char[] Characters, int[] Origins)
{
    public static NormalizedText Of(ReadOnlySpan<char> text, SentencePieceModel model)
    {
        char blank = model.EscapeBlanks ? SentencePieceModel.BlankSymbol : ' ';
        int consumed = 0;
        if (model.RemoveExtraBlanks)
        {
            while (consumed < text.Length && text[consumed] == ' ')
            {
                consumed++;
            }
            if (consumed == text.Length)
            {
                return new NormalizedText([], [consumed]);
            }
        }
        var characters = new List<char>(text.Length + 1);
        var origins = new List<int>(text.Length + 2);
        if (model.AddDummyPrefix)
        {
            characters.Add(blank);
            origins.Add(consumed);
        }
        bool afterBlank = model.RemoveExtraBlanks;
        for (; consumed < text.Length; consumed++)
        {
            bool isBlank = text[consumed] == ' ';
            if (isBlank && afterBlank)
            {
                continue;
            }
            characters.Add(isBlank ? blank : text[consumed]);
            origins.Add(consumed);
            afterBlank = isBlank && model.RemoveExtraBlanks;
        }
        if (model.RemoveExtraBlanks)
        {
            while (characters.Count > 0 && characters[^1] == blank)
            {
                characters.RemoveAt(characters.Count - 1);
                consumed = origins[^1];
                origins.RemoveAt(origins.Count - 1);
            }
        }
        origins.Add(consumed);
        return new NormalizedText([.. characters], [.. origins]);
    }
}
