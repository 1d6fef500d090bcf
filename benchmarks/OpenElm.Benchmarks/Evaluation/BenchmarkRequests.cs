using System.IO.Compression;
using System.Text;
using System.Text.Json;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Benchmarks.Evaluation;

/// <summary>Requests of the lengths and the sharing that evaluation has, from the bundled data. Prompts have the harness' form; how examples are drawn does not matter here.</summary>
internal static class BenchmarkRequests
{
    /// <summary>HellaSwag: a context and four long endings. Documents from all over the file, whose two sources differ in length; examples are drawn anew for each.</summary>
    public static IEnumerable<EvaluationRequest> HellaSwag(string data, int documents, int shots)
    {
        var random = new Random(1234);
        JsonElement[] rows = [.. Rows(data, "hellaswag/validation")];
        for (int i = 0; i < documents; i++)
        {
            JsonElement row = rows[i * (rows.Length / documents)];
            string context = string.Concat(random.GetItems(rows, shots).Select(shown => $"{Query(shown)} {Endings(shown)[shown.GetProperty("label").GetInt32()]}\n\n")) + Query(row);
            foreach (string ending in Endings(row))
            {
                yield return new(context, " " + ending);
            }
        }

        static string Query(JsonElement row) => row.GetProperty("query").GetString()!;

        static string[] Endings(JsonElement row) => [.. row.GetProperty("endings").EnumerateArray().Select(ending => ending.GetString()!)];
    }

    /// <summary>ARC-Challenge with five examples, drawn anew for each question: nothing is shared but the context of the choices.</summary>
    public static IEnumerable<EvaluationRequest> Arc(string data, int documents)
    {
        var random = new Random(1234);
        string[] examples = [.. Rows(data, "arc_challenge/train").Select(row => $"{Question(row)} {Choices(row)[row.GetProperty("label").GetInt32()]}\n\n")];
        foreach (JsonElement row in Rows(data, "arc_challenge/test").Take(documents))
        {
            string context = string.Concat(random.GetItems(examples, 5)) + Question(row);
            foreach (string choice in Choices(row))
            {
                yield return new(context, " " + choice);
            }
        }

        static string Question(JsonElement row) => $"Question: {row.GetProperty("question").GetString()}\nAnswer:";

        static string[] Choices(JsonElement row) => [.. row.GetProperty("choices").EnumerateArray().Select(choice => choice.GetString()!)];
    }

    /// <summary>MMLU with five examples, the same for all questions of a subject, and a letter to choose.</summary>
    public static IEnumerable<EvaluationRequest> Mmlu(string data, int documents, params string[] subjects)
    {
        using ZipArchive zip = ZipFile.OpenRead(Path.Combine(data, "mmlu", "mmlu.zip"));
        foreach (string subject in subjects)
        {
            string examples = $"The following are multiple choice questions (with answers) about {subject.Replace('_', ' ')}.\n"
                + string.Concat(Csv(zip, $"data/dev/{subject}_dev.csv").Take(5).Select(row => $"{Question(row)} {row[5]}\n\n"));
            foreach (string[] row in Csv(zip, $"data/test/{subject}_test.csv").Take(documents / subjects.Length))
            {
                foreach (char letter in "ABCD")
                {
                    yield return new(examples + Question(row), " " + letter);
                }
            }
        }

        static string Question(string[] row) => $"{row[0].Trim()}\nA. {row[1]}\nB. {row[2]}\nC. {row[3]}\nD. {row[4]}\nAnswer:";
    }

    static IEnumerable<JsonElement> Rows(string data, string name)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(Path.Combine(data, name + ".jsonl.gz")), CompressionMode.Decompress));
        while (reader.ReadLine() is { } line)
        {
            yield return JsonDocument.Parse(line).RootElement;
        }
    }

    static List<string[]> Csv(ZipArchive zip, string name)
    {
        using var reader = new StreamReader(zip.GetEntry(name)!.Open());
        (string text, List<string[]> rows, List<string> fields, var field, bool quoted) = (reader.ReadToEnd(), [], [], new StringBuilder(), false);
        for (int i = 0; i < text.Length; i++)
        {
            switch (text[i])
            {
                case '"' when quoted && i + 1 < text.Length && text[i + 1] == '"':
                    field.Append(text[i++]);
                    break;
                case '"':
                    quoted = !quoted;
                    break;
                case ',' or '\n' when !quoted:
                    fields.Add(field.ToString().TrimEnd('\r'));
                    field.Clear();
                    if (text[i] == '\n')
                    {
                        rows.Add([.. fields]);
                        fields.Clear();
                    }

                    break;
                default:
                    field.Append(text[i]);
                    break;
            }
        }

        return rows;
    }
}
