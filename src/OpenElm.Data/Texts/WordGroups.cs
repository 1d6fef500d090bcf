namespace OpenElm.Data.Texts;

/// <summary>
/// Splits a document as CoreNet does: words lie between single spaces, every <c>size</c> words are a group. The space between two
/// groups belongs to neither; two spaces in a row enclose an empty word.
/// </summary>
internal ref struct WordGroups(ReadOnlySpan<char> text, int size)
{
    ReadOnlySpan<char> _rest = text;
    bool _done;

    /// <summary>The current group.</summary>
    public ReadOnlySpan<char> Current { get; private set; }

    /// <summary>Goes to the next group. A document has at least one, which is empty if the document is.</summary>
    public bool MoveNext()
    {
        if (_done)
        {
            return false;
        }

        int end = 0;
        for (int words = 1; ; words++)
        {
            int space = _rest[end..].IndexOf(' ');
            if (space < 0)
            {
                Current = _rest;
                _done = true;
                return true;
            }

            end += space;
            if (words == size)
            {
                Current = _rest[..end];
                _rest = _rest[(end + 1)..];
                return true;
            }

            end++;
        }
    }
}
