using System.Globalization;

namespace OpenElm.Commands;

/// <summary>A plain table for standard output: columns as wide as their longest cell, numbers to the right.</summary>
internal sealed class TextTable(params string[] headings)
{
    readonly List<string[]> _rows = [];
    readonly bool[] _isText = new bool[headings.Length];

    public void Add(params object[] cells)
    {
        for (int i = 0; i < cells.Length; i++)
        {
            _isText[i] |= cells[i] is string;
        }

        _rows.Add([.. cells.Select(Format)]);
    }

    public void WriteTo(TextWriter output)
    {
        int[] widths = [.. headings.Select((heading, i) => _rows.Select(row => row[i].Length).Append(heading.Length).Max())];
        Write(output, headings, widths);
        Write(output, [.. widths.Select(width => new string('-', width))], widths);
        foreach (string[] row in _rows)
        {
            Write(output, row, widths);
        }
    }

    void Write(TextWriter output, string[] cells, int[] widths) =>
        output.WriteLine(string.Join("  ", cells.Select((cell, i) => _isText[i] ? cell.PadRight(widths[i]) : cell.PadLeft(widths[i]))).TrimEnd());

    static string Format(object cell) => cell switch
    {
        int or long => ((IFormattable)cell).ToString("N0", CultureInfo.InvariantCulture),
        double number => number.ToString("G4", CultureInfo.InvariantCulture),
        _ => cell.ToString()!,
    };
}
