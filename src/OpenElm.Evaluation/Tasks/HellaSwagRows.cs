using System.Text.RegularExpressions;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>HellaSwag's official rows hold marks of their source, WikiHow; the harness makes <c>query</c> and <c>choices</c> of them.</summary>
internal static partial class HellaSwagRows
{
    /// <summary>Cleans a row; one that has a <c>query</c> already is taken as it is.</summary>
    /// <param name="row">The row.</param>
    /// <returns>A row with <c>query</c> and <c>choices</c>.</returns>
    public static DataRow Cleaned(DataRow row)
    {
        List<object?> endings = row.Take<List<object?>>("endings");
        var values = new Dictionary<string, object?>(row.Values);
        if (row.Values.ContainsKey("query"))
        {
            values["choices"] = endings;
        }
        else
        {
            values["query"] = Cleaned($"{row.Take<string>("activity_label")}: {row.Take<string>("ctx_a")} {Capitalized(row.Take<string>("ctx_b"))}");
            values["choices"] = endings.Select(ending => (object?)Cleaned(ending as string ?? throw row.Wrong($"holds {DataRow.Kind(ending)} among its endings, not text."))).ToList();
        }

        return row with { Values = values };
    }

    // One pass over double blanks, as the harness does: three blanks become two.
    internal static string Cleaned(string text) =>
        Brackets().Replace(PythonText.Strip(text).Replace(" [title]", ". ", StringComparison.Ordinal), "").Replace("  ", " ", StringComparison.Ordinal);

    // Python's capitalize: the first character upper, all others lower.
    internal static string Capitalized(string text) => text.Length == 0 ? text : text[..1].ToUpperInvariant() + text[1..].ToLowerInvariant();

    [GeneratedRegex(@"\[.*?\]")]
    private static partial Regex Brackets();
}
