using System.Globalization;
using System.Text;

namespace OpenElm.Tokenization;

/// <summary>Reads the tables that <c>eng/text-tables.py</c> writes.</summary>
internal static class TextTables
{
    /// <summary>The lines of a table, split at blanks, without the comment.</summary>
    public static IEnumerable<string[]> Rows(string name)
    {
        using Stream stream = typeof(TextTables).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the table {name} is not in the assembly");
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is string line)
        {
            if (!line.StartsWith('#'))
            {
                yield return line.Split(' ');
            }
        }
    }

    public static int Code(string hexadecimal) => int.Parse(hexadecimal, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    public static string Characters(ReadOnlySpan<string> codes)
    {
        var text = new StringBuilder();
        foreach (string code in codes)
        {
            text.Append(new Rune(Code(code)).ToString());
        }
        return text.ToString();
    }
}
