using System.Collections.Immutable;
using System.Text.RegularExpressions;

namespace OpenElm.Evaluation.Suites;

/// <summary>What the paper reports of a model in a suite, in percent.</summary>
/// <param name="Model">The model.</param>
/// <param name="Cells">Column by column.</param>
/// <param name="Average">As printed: the mean of unrounded cells.</param>
public sealed record PaperRow(string Model, ImmutableArray<double> Cells, double Average);

/// <summary>OpenELM's Table 4. (Its model cards have the same numbers, the names of the second and third table swapped.)</summary>
public static partial class PaperNumbers
{
    static readonly Dictionary<string, ImmutableArray<PaperRow>> Tables = new()
    {
        [EvaluationSuite.ZeroShot.Name] = [
            new("OpenELM-270M", [26.45, 45.08, 53.98, 46.71, 69.75, 84.70, 53.91], 54.37),
            new("OpenELM-270M-Instruct", [30.55, 46.68, 48.56, 52.07, 70.78, 84.40, 52.72], 55.11),
            new("OpenELM-450M", [27.56, 48.06, 55.78, 53.97, 72.31, 87.20, 58.01], 57.56),
            new("OpenELM-450M-Instruct", [30.38, 50.00, 60.37, 59.34, 72.63, 88.00, 58.96], 59.95),
            new("OpenELM-1.1B", [32.34, 55.43, 63.58, 64.81, 75.57, 90.60, 61.72], 63.44),
            new("OpenELM-1.1B-Instruct", [37.97, 52.23, 70.00, 71.20, 75.03, 89.30, 62.75], 65.50),
            new("OpenELM-3B", [35.58, 59.89, 67.40, 72.44, 78.24, 92.70, 65.51], 67.39),
            new("OpenELM-3B-Instruct", [39.42, 61.74, 68.17, 76.36, 79.00, 92.50, 66.85], 69.15),
        ],
        [EvaluationSuite.OpenLlm.Name] = [
            new("OpenELM-270M", [27.65, 47.15, 25.72, 39.24, 53.83], 38.72),
            new("OpenELM-270M-Instruct", [32.51, 51.58, 26.70, 38.72, 53.20], 40.54),
            new("OpenELM-450M", [30.20, 53.86, 26.01, 40.18, 57.22], 41.50),
            new("OpenELM-450M-Instruct", [33.53, 59.31, 25.41, 40.48, 58.33], 43.41),
            new("OpenELM-1.1B", [36.69, 65.71, 27.05, 36.98, 63.22], 45.93),
            new("OpenELM-1.1B-Instruct", [41.55, 71.83, 25.65, 45.95, 64.72], 49.94),
            new("OpenELM-3B", [42.24, 73.28, 26.76, 34.98, 67.25], 48.90),
            new("OpenELM-3B-Instruct", [47.70, 76.87, 24.80, 38.76, 67.96], 51.22),
        ],
        [EvaluationSuite.Llm360.Name] = [
            new("OpenELM-270M", [27.65, 66.79, 47.15, 25.72, 69.75, 30.91, 39.24, 53.83], 45.13),
            new("OpenELM-270M-Instruct", [32.51, 66.01, 51.58, 26.70, 70.78, 33.78, 38.72, 53.20], 46.66),
            new("OpenELM-450M", [30.20, 68.63, 53.86, 26.01, 72.31, 33.11, 40.18, 57.22], 47.69),
            new("OpenELM-450M-Instruct", [33.53, 67.44, 59.31, 25.41, 72.63, 36.84, 40.48, 58.33], 49.25),
            new("OpenELM-1.1B", [36.69, 71.74, 65.71, 27.05, 75.57, 36.46, 36.98, 63.22], 51.68),
            new("OpenELM-1.1B-Instruct", [41.55, 71.02, 71.83, 25.65, 75.03, 39.43, 45.95, 64.72], 54.40),
            new("OpenELM-3B", [42.24, 73.29, 73.28, 26.76, 78.24, 38.76, 34.98, 67.25], 54.35),
            new("OpenELM-3B-Instruct", [47.70, 72.33, 76.87, 24.80, 79.00, 38.47, 38.76, 67.96], 55.73),
        ],
    };

    /// <summary>The paper's rows of a suite.</summary>
    /// <param name="suite">The suite.</param>
    /// <returns>All models; none for a suite whose numbers are not verified.</returns>
    public static ImmutableArray<PaperRow> Of(EvaluationSuite suite)
    {
        ArgumentNullException.ThrowIfNull(suite);
        return Tables.GetValueOrDefault(suite.Name, []);
    }

    /// <summary>The paper's row for a model, if it has one.</summary>
    /// <param name="suite">The suite.</param>
    /// <param name="model">A name or path such as <c>models/OpenELM-1_1B-Instruct</c>.</param>
    /// <returns>The row; null where the name is none of the paper's.</returns>
    public static PaperRow? Find(EvaluationSuite suite, string model)
    {
        ArgumentNullException.ThrowIfNull(model);
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(model));
        return ModelName().Match(name) is { Success: true } match
            ? Of(suite).FirstOrDefault(row => row.Model.Equals($"OpenELM-{match.Groups["size"].ValueSpan}{match.Groups["tuned"].ValueSpan}".Replace('_', '.'), StringComparison.OrdinalIgnoreCase))
            : null;
    }

    // A suffix with a dot is a file's ending; any other makes it another model.
    [GeneratedRegex(@"^openelm-(?<size>270m|450m|1[._]1b|3b)(?<tuned>-instruct)?(\.[a-z].*)?$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex ModelName();
}
