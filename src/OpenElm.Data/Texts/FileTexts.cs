namespace OpenElm.Data.Texts;

/// <summary>The texts of one file that pass the filters, as tokens: read and tokenized now, or prepared before.</summary>
internal abstract class FileTexts : IDisposable
{
    /// <summary>The record that holds the current text.</summary>
    public abstract long Record { get; }

    /// <summary>The current text's number in its record; 0 where records are not split.</summary>
    public abstract int Group { get; }

    /// <summary>The current text. In faithful mode never more than a sequence takes. Valid until the next read.</summary>
    public abstract ReadOnlySpan<int> Tokens { get; }

    /// <summary>Tokens of the current text before any cut.</summary>
    public abstract int TokenCount { get; }

    /// <summary>Goes to the next text; false at the end of the file.</summary>
    public abstract bool Read();

    public abstract void Dispose();
}
