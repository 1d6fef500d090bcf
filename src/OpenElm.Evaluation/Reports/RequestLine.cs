using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using OpenElm.Evaluation.Tasks;
using OpenElm.IO;

namespace OpenElm.Evaluation.Reports;

/// <summary>A request as <c>--write-out</c> writes it, for other engines to score.</summary>
/// <param name="Task">The task's name.</param>
/// <param name="DocId">The row of the data.</param>
/// <param name="Idx">Which of the document's requests.</param>
/// <param name="Context">The text before.</param>
/// <param name="Continuation">The text that is scored.</param>
public sealed record RequestLine(string Task, int DocId, int Idx, string Context, string Continuation)
{
    static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The requests of a task: documents in file order, choices in order.</summary>
    /// <param name="task">The task's name.</param>
    /// <param name="items">Its documents.</param>
    /// <returns>The lines.</returns>
    public static IEnumerable<RequestLine> Of(string task, IEnumerable<EvaluationItem> items) =>
        items.SelectMany(item => item.Requests.Select((request, i) => new RequestLine(task, item.DocumentId, i, request.Context, request.Continuation)));

    /// <summary>Writes requests as JSON lines.</summary>
    /// <param name="path">The file.</param>
    /// <param name="lines">The requests.</param>
    /// <returns>How many.</returns>
    public static int Write(string path, IEnumerable<RequestLine> lines)
    {
        ArgumentNullException.ThrowIfNull(lines);
        int count = 0;
        AtomicFile.Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
            foreach (RequestLine line in lines)
            {
                writer.WriteLine(JsonSerializer.Serialize(line, Json));
                count++;
            }
        });
        return count;
    }
}
