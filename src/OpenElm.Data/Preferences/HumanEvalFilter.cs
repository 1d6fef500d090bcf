using System.Buffers;
using System.Collections.Immutable;
using OpenElm.Data.Rows;

namespace OpenElm.Data.Preferences;

/// <summary>
/// Finds texts that hold a problem of HumanEval: a docstring or a solution, upper and lower case and kinds of blanks aside. As alignment-handbook does
/// (<c>decontaminate_humaneval</c> in src/alignment/decontaminate.py at 70769f9).
/// </summary>
internal sealed class HumanEvalFilter
{
    const string Quotes = "\"\"\"", OtherQuotes = "'''";

    // Solutions that anybody may write. The last is return " ".join(strings) in the reference, where unescaped quotes make it this: it excepts nothing.
    static readonly string[] Trivial = ["return x + y", "return len(string)", "return n**2", "return .join(strings)"];

    readonly SearchValues<string> _texts;

    HumanEvalFilter(IEnumerable<string> texts) => _texts = SearchValues.Create([.. texts.Select(Normalized)], StringComparison.Ordinal);

    /// <summary>Reads the problems.</summary>
    /// <param name="files">Files with the columns <c>prompt</c> and <c>canonical_solution</c>.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <exception cref="OpenElmException">A file or record is wrong; the message names both.</exception>
    public static HumanEvalFilter Read(ImmutableArray<string> files, string baseDirectory)
    {
        DataRow[] problems = [.. RowReader.Read(files, baseDirectory)];
        return new(problems.Select(Docstring).Concat(problems.Select(problem => problem.Take<string>("canonical_solution").Trim()).Where(solution => solution.Length > 0 && !Trivial.Contains(solution))));
    }

    /// <summary>Whether a text holds a problem.</summary>
    /// <param name="text">The text.</param>
    public bool IsIn(string text) => Normalized(text).AsSpan().ContainsAny(_texts);

    static string Normalized(string text) => string.Join(' ', text.ToLowerInvariant().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    // Of two functions the second is the problem.
    static string Docstring(DataRow problem)
    {
        string prompt = problem.Take<string>("prompt");
        string[] parts = prompt.Split(prompt.Contains(Quotes, StringComparison.Ordinal) ? Quotes : OtherQuotes);
        return parts is [_, { } only, _] && !string.IsNullOrWhiteSpace(only) ? only
            : parts is [_, _, _, { } second, _] && !string.IsNullOrWhiteSpace(second) ? second
            : throw problem.Wrong("has no docstring in 'prompt': it must stand in triple quotes, once or twice, and not be empty.");
    }
}
