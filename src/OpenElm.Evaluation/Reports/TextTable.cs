using System.Net;
using System.Text;

namespace OpenElm.Evaluation.Reports;

/// <summary>A table as Markdown that reads well as plain text too, columns as wide as their longest cell, or as HTML.</summary>
/// <param name="headings">Their names; one that ends in <c>&gt;</c> stands to the right.</param>
internal sealed class TextTable(params string[] headings)
{
    readonly string[] _headings = [.. headings.Select(heading => heading.TrimEnd('>'))];
    readonly bool[] _right = [.. headings.Select(heading => heading.EndsWith('>'))];
    readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    public string ToHtml()
    {
        var html = new StringBuilder("<table>");
        Append("th", _headings);
        _rows.ForEach(row => Append("td", row));
        return html.Append("</table>\n").ToString();

        void Append(string cell, string[] texts) => html.Append("<tr>")
            .AppendJoin("", texts.Select((text, i) => $"<{cell}{(_right[i] ? " class=\"number\"" : "")}>{WebUtility.HtmlEncode(text)}</{cell}>")).Append("</tr>\n");
    }

    public override string ToString()
    {
        int[] widths = [.. _headings.Select((heading, i) => _rows.Select(row => row[i].Length).Append(heading.Length).Append(3).Max())];
        var text = new StringBuilder();
        Append(_headings);
        Append([.. widths.Select((width, i) => _right[i] ? new string('-', width - 1) + ":" : new string('-', width))]);
        _rows.ForEach(Append);
        return text.ToString();

        void Append(string[] cells) => text.Append("| ").AppendJoin(" | ", cells.Select((cell, i) => _right[i] ? cell.PadLeft(widths[i]) : cell.PadRight(widths[i]))).Append(" |\n");
    }
}
