using System.Text.RegularExpressions;

namespace OpenElm.Adapters;

/// <summary>
/// A regular expression over names of modules or weights, matched from the start of the name as CoreNet and Python's <c>re.match</c> do;
/// what follows the match does not matter.
/// </summary>
public sealed class NameExpression
{
    static readonly TimeSpan LongestMatch = TimeSpan.FromSeconds(1); // expressions come from files, and some never end

    readonly Regex _regex;

    NameExpression(string text, Regex regex) => (Text, _regex) = (text, regex);

    /// <summary>The expression as it was written.</summary>
    public string Text { get; }

    /// <summary>Says what is wrong with an expression.</summary>
    /// <param name="expression">The expression.</param>
    /// <returns>The reason, or null if it is well-formed.</returns>
    public static string? Problem(string expression)
    {
        if (string.IsNullOrEmpty(expression))
        {
            return "it is empty and would match every name";
        }

        try
        {
            _ = Build(expression);
            return null;
        }
        catch (ArgumentException e)
        {
            return e.Message;
        }
    }

    /// <summary>Reads an expression.</summary>
    /// <param name="expression">For example <c>.*qkv_proj.*</c>.</param>
    /// <returns>The expression.</returns>
    /// <exception cref="OpenElmException">It is no regular expression.</exception>
    public static NameExpression Parse(string expression) => Problem(expression) is { } problem
        ? throw new OpenElmException($"The expression '{expression}' cannot be used: {problem}")
        : new NameExpression(expression, Build(expression));

    /// <summary>Finds the names that some expressions match.</summary>
    /// <param name="expressions">The expressions.</param>
    /// <param name="names">The names.</param>
    /// <param name="purpose">What the expressions are for, for the message: <c>freeze</c>.</param>
    /// <returns>The names that at least one expression matches.</returns>
    /// <exception cref="OpenElmException">An expression is none, or matches no name.</exception>
    public static IReadOnlySet<string> Select(IEnumerable<string> expressions, IReadOnlyCollection<string> names, string purpose)
    {
        var selected = new HashSet<string>();
        foreach (NameExpression expression in expressions.Select(Parse))
        {
            string[] matched = [.. names.Where(expression.Matches)];
            selected.UnionWith(matched is not [] ? matched : throw new OpenElmException(
                $"The {purpose} expression '{expression.Text}' matches no name; names are like {string.Join(", ", names.Take(3))}."));
        }

        return selected;
    }

    /// <summary>Whether a name begins with a match.</summary>
    /// <param name="name">The name.</param>
    /// <returns>True if it does.</returns>
    /// <exception cref="OpenElmException">Matching takes forever.</exception>
    public bool Matches(string name)
    {
        try
        {
            return _regex.IsMatch(name);
        }
        catch (RegexMatchTimeoutException e)
        {
            throw new OpenElmException($"The expression '{Text}' takes forever on {name}; write it without nested repetitions.", e);
        }
    }

    static Regex Build(string expression) => new($@"\A(?:{expression})", RegexOptions.CultureInvariant, LongestMatch);
}
