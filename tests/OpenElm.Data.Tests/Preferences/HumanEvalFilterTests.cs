using System.Text.Json;
using OpenElm.Data.Preferences;

namespace OpenElm.Data.Tests.Preferences;

public sealed class HumanEvalFilterTests : IDisposable
{
    const string Quotes = "\"\"\"";

    readonly PreferenceFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("It should Give  back the\n\tsum of Two numbers, I think.", true)] // the docstring, other blanks and letters
    [InlineData("Give back the sum of three numbers.", false)]
    [InlineData("def f(a, b):\n    total = A + b\n    RETURN total", true)] // the solution
    [InlineData("total = a+b return total", false)] // a blank is not nothing
    [InlineData("Add one", false)] // the first of two docstrings is a helper's
    [InlineData("Add two", true)]
    [InlineData("Multiply 'em", true)] // the other quotes
    [InlineData("return x + y", false)] // trivial
    [InlineData("return len(string)", false)]
    [InlineData("return n**2", false)]
    [InlineData("return ' '.join(strings)", true)] // not excepted: the reference meant to, but its quotes are wrong
    public void A_docstring_or_a_solution_is_found(string text, bool found)
    {
        _folder.Write("he.jsonl", Problems());
        Assert.Equal(found, HumanEvalFilter.Read(["he.jsonl"], _folder.Root).IsIn(text));
    }

    [Fact]
    public void Contaminated_pairs_are_left_out_and_counted()
    {
        _folder.Write("he.jsonl.gz", Problems());
        string[] rows =
        [
            """{"prompt": "Write code.", "chosen": "def add(a, b):\n    total = a + b\n    return total", "rejected": "No."}""",
            """{"prompt": "Write code.", "chosen": "No.", "rejected": "total = a + b\n    return total"}""",
            """{"prompt": "Give back the sum of two numbers.", "chosen": "Yes.", "rejected": "No."}""",
        ];
        PreferenceSet set = _folder.Read(rows, PreferenceFolder.Config with { ContaminationFiles = ["he.jsonl.gz"] });

        // Only the chosen response is looked at, neither the rejected one nor the prompt.
        Assert.Equal(new PreferenceStatistics(3, 0, 0, 1, 0, 0), set.Statistics);
        Assert.Equal(["2", "3"], set.Pairs.Select(pair => pair.Origin.Split(' ')[^1]));
    }

    [Theory]
    [InlineData("def f():\n    pass", "row 1 has no docstring in 'prompt'")]
    [InlineData("def f():\n    '''  '''", "row 1 has no docstring in 'prompt'")]
    [InlineData("'''a''' '''b''' '''c'''", "row 1 has no docstring in 'prompt'")]
    public void A_problem_without_a_docstring_is_refused(string prompt, string problem)
    {
        _folder.Write("he.jsonl", Problem(prompt, "pass"));
        Assert.Contains("he.jsonl " + problem, Assert.Throws<OpenElmException>(() => HumanEvalFilter.Read(["he.jsonl"], _folder.Root)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_problem_needs_its_columns()
    {
        _folder.Write("he.jsonl", """{"prompt": "'''a'''"}""");
        Assert.Contains("row 1 has no column 'canonical_solution'", Assert.Throws<OpenElmException>(() => HumanEvalFilter.Read(["he.jsonl"], _folder.Root)).Message, StringComparison.Ordinal);
    }

    static string[] Problems() =>
    [
        Problem($"def add(a, b):\n    {Quotes} Give back the sum\n    of two numbers{Quotes}\n", "    total = a + b\n    return total\n"),
        Problem($"def one(x):\n    {Quotes}Add one{Quotes}\n\ndef two(x):\n    {Quotes}Add two{Quotes}\n", "    return x + y\n"),
        Problem("def mul(x):\n    '''Multiply 'em'''\n", "    return len(string)\n"),
        Problem($"def sq(n):\n    {Quotes}Square of n{Quotes}\n", "return n**2"),
        Problem($"def join(strings):\n    {Quotes}Join them{Quotes}\n", "    return ' '.join(strings)\n"),
        Problem($"def nothing():\n    {Quotes}Do nothing{Quotes}\n", "  \n"), // an empty solution stands in no text
    ];

    static string Problem(string prompt, string solution) => JsonSerializer.Serialize(new { task_id = "t", prompt, canonical_solution = solution });
}
