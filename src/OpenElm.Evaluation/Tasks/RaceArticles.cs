using System.Collections.Immutable;
using System.Text;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>
/// RACE asks the last question of an article; the earlier ones stand before it with their answers. Official rows are single questions
/// (<c>article</c>, <c>question</c>, <c>options</c>, <c>answer</c>); the harness' own data have one row for each article, with <c>problems</c> as a list or as
/// the text of a Python list.
/// </summary>
internal static class RaceArticles
{
    /// <summary>What a question with a gap ends in; the answer is put directly behind its last five characters.</summary>
    const string Gap = "  _  .";

    sealed record Problem(string Question, List<object?> Options, int Answer)
    {
        public string Solved => Question.EndsWith(Gap, StringComparison.Ordinal)
            ? Question[^5..] + Options[Answer] + "\n"
            : $"Question: {Question}\nAnswer: {Options[Answer]}\n";
    }

    /// <summary>Makes one row of each article.</summary>
    /// <param name="rows">Questions or articles.</param>
    /// <returns>Rows with <c>context</c>, <c>options</c> and <c>gold</c>.</returns>
    public static ImmutableArray<DataRow> Of(ImmutableArray<DataRow> rows) =>
        [.. rows.Any(row => row.Values.ContainsKey("problems"))
            ? rows.Select(row => Prepared(row, [.. Problems(row)]))
            : rows.GroupBy(row => row.Take<string>("article")).Select(questions => Prepared(questions.First(), [.. questions.Select(row => ProblemOf(row, row.Values))]))];

    static DataRow Prepared(DataRow row, ImmutableArray<Problem> problems)
    {
        var context = new StringBuilder("Article: ").Append(row.Take<string>("article")).Append("\n\n");
        foreach (Problem solved in problems[..^1])
        {
            context.Append(solved.Solved);
        }

        Problem last = problems[^1];
        return row with
        {
            Values = new() { ["context"] = context.Append(last.Question).ToString(), ["options"] = last.Options, ["gold"] = (long)last.Answer },
        };
    }

    static IEnumerable<Problem> Problems(DataRow row)
    {
        object? problems = row.Values.GetValueOrDefault("problems");
        if (problems is string text)
        {
            problems = PythonLiteral.Parse(text) ?? throw row.Wrong("holds no Python list in column 'problems'.");
        }

        if (problems is not List<object?> { Count: > 0 } list)
        {
            throw row.Wrong("has no problems.");
        }

        return list.Select(problem => ProblemOf(row, problem as Dictionary<string, object?> ?? throw row.Wrong("holds a problem that is no object.")));
    }

    static Problem ProblemOf(DataRow row, Dictionary<string, object?> values)
    {
        DataRow part = row with { Values = values };
        string answer = part.Take<string>("answer");
        List<object?> options = part.Take<List<object?>>("options");
        return options.Count != 4 || !options.All(option => option is string) ? throw row.Wrong($"has {options.Count} options where four texts are needed.")
            : answer.Length == 1 && "ABCD".Contains(answer, StringComparison.Ordinal) ? new Problem(part.Take<string>("question"), options, answer[0] - 'A')
            : throw row.Wrong($"has the answer '{answer}', which is none of A, B, C and D.");
    }
}
