using System.Collections.Immutable;
using System.Text.RegularExpressions;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>
/// WikiText as the harness scores it: one document an article, its tokenizing undone. Rows are articles already (<c>page</c>), or hold lines of the
/// raw file in <c>text</c>: all of them, or one a row, where blank lines are empty.
/// </summary>
internal static partial class WikiTextPages
{
    /// <summary>Makes one row of each article.</summary>
    /// <param name="rows">Articles or lines.</param>
    /// <returns>Rows with <c>page</c> (the original) and <c>text</c> (what is scored).</returns>
    public static ImmutableArray<DataRow> Of(ImmutableArray<DataRow> rows)
    {
        if (rows[0].Values.ContainsKey("page"))
        {
            return [.. rows.Select(row => Page(row.Take<string>("page"), row.File, row.Number))];
        }

        string text = rows is [var whole] ? whole.Take<string>("text")
            : string.Concat(rows.Select(row => row.Take<string>("text") is { Length: > 0 } line ? line : " \n"));
        return [.. Cut(text).Select((page, i) => Page(page, rows[0].File, i + 1))];
    }

    static DataRow Page(string page, string file, long number) => new(new() { ["page"] = page, ["text"] = Detokenized(page) }, file, number);

    /// <summary>Cuts at the headings of articles; what stands before the first is dropped if blank.</summary>
    static IEnumerable<string> Cut(string text)
    {
        var page = new List<string>();
        foreach (string line in text.Split('\n'))
        {
            if (IsHeading(line))
            {
                string done = string.Join('\n', page);
                if (PythonText.Strip(done).Length > 0)
                {
                    yield return done;
                }

                page.Clear();
            }

            page.Add(line);
        }

        yield return string.Join('\n', page);
    }

    // Sections have more than one sign on each side.
    static bool IsHeading(string line)
    {
        string plain = PythonText.Strip(line.Replace("= = =", "===", StringComparison.Ordinal).Replace("= =", "==", StringComparison.Ordinal));
        return plain.StartsWith("= ", StringComparison.Ordinal) && plain.EndsWith(" =", StringComparison.Ordinal);
    }

    /// <summary>Undoes the tokenizing as the harness does, its slips included: its second rule never finds anything.</summary>
    /// <param name="page">An article.</param>
    /// <returns>What is scored.</returns>
    internal static string Detokenized(string page)
    {
        string text = page.Replace("s '", "s'", StringComparison.Ordinal);
        text = SlashedDigit().Replace(text, "/'[0-9]/");
        foreach (char sign in "-,.")
        {
            text = text.Replace($" @{sign}@ ", sign.ToString(), StringComparison.Ordinal);
        }

        foreach (char sign in ":;.!?,")
        {
            text = text.Replace($" {sign} ", $"{sign} ", StringComparison.Ordinal);
        }

        text = Parentheses().Replace(text, "($1)");
        text = Brackets().Replace(text, "[$1]");
        text = Braces().Replace(text, "{$1}");
        text = DoubleQuotes().Replace(text, "\"$1\"");
        text = SingleQuotes().Replace(text, "'$1'");
        foreach ((string from, string to) in new[]
        {
            ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"),
        })
        {
            text = text.Replace(from, to, StringComparison.Ordinal);
        }

        return text;
    }

    [GeneratedRegex("/' [0-9]/")]
    private static partial Regex SlashedDigit();

    [GeneratedRegex(@"\(\s*([^\)]*?)\s*\)")]
    private static partial Regex Parentheses();

    [GeneratedRegex(@"\[\s*([^\]]*?)\s*\]")]
    private static partial Regex Brackets();

    [GeneratedRegex(@"{\s*([^}]*?)\s*}")]
    private static partial Regex Braces();

    [GeneratedRegex("\"\\s*([^\"]*?)\\s*\"")]
    private static partial Regex DoubleQuotes();

    [GeneratedRegex(@"'\s*([^']*?)\s*'")]
    private static partial Regex SingleQuotes();
}
