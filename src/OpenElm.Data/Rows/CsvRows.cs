using System.Text;

namespace OpenElm.Data.Rows;

/// <summary>Rows of comma-separated values as Python's <c>csv.reader</c> takes them: fields verbatim, line breaks inside quotes kept.</summary>
internal static class CsvRows
{
    /// <summary>Reads a file.</summary>
    /// <param name="text">The file.</param>
    /// <param name="file">What messages call it.</param>
    /// <param name="columns">The names of the columns; empty takes them from the first line.</param>
    /// <returns>Its rows; row numbers count records, the header not among them.</returns>
    public static List<DataRow> Read(string text, string file, IReadOnlyList<string> columns)
    {
        var rows = new List<DataRow>();
        int at = 0;
        long number = columns is [] ? -1 : 0;
        while (at < text.Length)
        {
            List<string> fields = Record(text, ref at, file, number + 1);
            if (fields.Count == 0)
            {
                continue;
            }

            number++;
            if (number == 0)
            {
                columns = fields;
                continue;
            }

            if (fields.Count != columns.Count)
            {
                throw new OpenElmException($"{file} row {number} has {fields.Count} fields where {columns.Count} are needed: {string.Join(", ", columns)}.");
            }

            var values = new Dictionary<string, object?>(columns.Count);
            for (int i = 0; i < fields.Count; i++)
            {
                values[columns[i]] = fields[i];
            }

            rows.Add(new DataRow(values, file, number));
        }

        return rows;
    }

    // An empty line is a record without fields.
    static List<string> Record(string text, ref int at, string file, long number)
    {
        var fields = new List<string>();
        while (true)
        {
            bool wasEmptyLine = fields.Count == 0 && AtLineEnd(text, at);
            if (!wasEmptyLine)
            {
                fields.Add(Field(text, ref at, file, number));
            }

            if (at < text.Length && text[at] == ',')
            {
                at++;
                continue;
            }

            at += at + 1 < text.Length && text[at] == '\r' && text[at + 1] == '\n' ? 2 : 1;
            return fields;
        }
    }

    static bool AtLineEnd(string text, int at) => at >= text.Length || text[at] is '\r' or '\n';

    // Only a quote at the beginning opens a quoted part; what follows its end is taken as it is.
    static string Field(string text, ref int at, string file, long number)
    {
        var field = new StringBuilder();
        if (at < text.Length && text[at] == '"')
        {
            at++;
            while (true)
            {
                int quote = text.IndexOf('"', at);
                if (quote < 0)
                {
                    throw new OpenElmException($"{file} row {number} opens a quote that is never closed.");
                }

                field.Append(text, at, quote - at);
                at = quote + 1;
                if (at < text.Length && text[at] == '"')
                {
                    field.Append('"');
                    at++;
                    continue;
                }

                break;
            }
        }

        int start = at;
        while (!AtLineEnd(text, at) && text[at] != ',')
        {
            at++;
        }

        return field.Append(text, start, at - start).ToString();
    }
}
