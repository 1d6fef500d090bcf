using System.Collections.Immutable;

namespace OpenElm.Templates;

/// <summary>
/// A text with holes, in the part of Jinja that chat templates and evaluation tasks use (docs/generation.md lists it), with Python's rules for values. Immutable.
/// Values are null, bool, long, double, string, <c>List&lt;object?&gt;</c> and <c>Dictionary&lt;string, object?&gt;</c>.
/// </summary>
public sealed class Template
{
    readonly ImmutableArray<TemplateNode> _nodes;

    Template(string name, string source) => (Name, Source, _nodes) = (name, source, TemplateParser.Parse(source));

    /// <summary>What messages call it, as the beginning of a sentence: <c>The chat template</c>.</summary>
    public string Name { get; }

    /// <summary>The template itself.</summary>
    public string Source { get; }

    /// <summary>Reads a template.</summary>
    /// <param name="source">The template; one line break at its end is dropped, as Jinja does.</param>
    /// <param name="name">What messages call it.</param>
    /// <returns>The template.</returns>
    /// <exception cref="OpenElmException">It is wrong, or uses what is not supported; the message says what and where.</exception>
    public static Template Parse(string source, string name = "The template")
    {
        ArgumentNullException.ThrowIfNull(source);
        return new Template(name, source);
    }

    /// <summary>Fills the holes.</summary>
    /// <param name="variables">The values by name.</param>
    /// <param name="strict">Whether printing what is not defined is an error; else it prints nothing.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OpenElmException">The template refuses what it is given, or goes wrong.</exception>
    public string Render(Dictionary<string, object?> variables, bool strict = false) => TemplateRenderer.Render(Name, _nodes, variables, strict);

    /// <summary>The value of a template that is one expression, <c>{{ choices.text }}</c>, as it is; the text of any other.</summary>
    /// <param name="variables">The values by name; all that is used must be there.</param>
    /// <returns>The value.</returns>
    /// <exception cref="OpenElmException">The template goes wrong.</exception>
    public object? Evaluate(Dictionary<string, object?> variables) => _nodes is [TemplateNode.Output output]
        ? TemplateRenderer.Evaluate(Name, output, variables)
        : Render(variables, strict: true);
}
