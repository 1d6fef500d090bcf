namespace OpenElm.Tokenization;

/// <summary>Clean-up of text before encoding.</summary>
public static class TextCleanup
{
    /// <summary>Cleans a text.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The cleaned text.</returns>
    public static string FixText(string text) => throw new NotImplementedException(text);
}
