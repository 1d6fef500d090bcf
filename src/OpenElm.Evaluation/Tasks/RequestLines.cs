using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace OpenElm.Evaluation.Tasks;

/// <summary>
/// Requests as JSON lines, for engines outside: <c>{"task", "doc_id", "idx", "context", "continuation"}</c>, documents in the order of the file, requests in
/// the order of the choices. Strings are escaped as Python's <c>json.dumps</c> does, so that files compare byte by byte.
/// </summary>
public static class RequestLines
{
    /// <summary>Writes the requests of a task.</summary>
    /// <param name="writer">Receives a line for each request.</param>
    /// <param name="task">The task's name.</param>
    /// <param name="items">Its items.</param>
    public static void Write(TextWriter writer, string task, ImmutableArray<EvaluationItem> items)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(task);
        var line = new StringBuilder();
        foreach (EvaluationItem item in items)
        {
            for (int i = 0; i < item.Requests.Length; i++)
            {
                line.Clear().Append("{\"task\": ");
                AppendJson(line, task);
                line.Append(CultureInfo.InvariantCulture, $", \"doc_id\": {item.DocumentId}, \"idx\": {i}, \"context\": ");
                AppendJson(line, item.Requests[i].Context);
                line.Append(", \"continuation\": ");
                AppendJson(line, item.Requests[i].Continuation);
                writer.Write(line.Append("}\n"));
            }
        }
    }

    /// <summary>Appends a string as <c>json.dumps</c> writes it: every unit that is not ASCII, and U+007F too, as <c>\uxxxx</c> in lower case.</summary>
    internal static void AppendJson(StringBuilder json, string text)
    {
        json.Append('"');
        foreach (char c in text)
        {
            _ = c switch
            {
                '"' => json.Append("\\\""),
                '\\' => json.Append("\\\\"),
                '\n' => json.Append("\\n"),
                '\r' => json.Append("\\r"),
                '\t' => json.Append("\\t"),
                '\b' => json.Append("\\b"),
                '\f' => json.Append("\\f"),
                < ' ' or > '~' => json.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => json.Append(c),
            };
        }

        json.Append('"');
    }
}
