namespace OpenElm.Inference.Constraints;

/// <summary>
/// What an output may be: tokens that would leave it are impossible, and the end of the sequence is possible exactly where
/// the output is whole. So every output that ends by itself matches. Immutable; made once and used for many outputs and
/// models, it keeps what it learned about their vocabularies.
/// </summary>
public sealed class OutputConstraint
{
    OutputConstraint(Pattern pattern) => Nfa = NfaBuilder.Build(pattern);

    internal Nfa Nfa { get; }

    /// <summary>The whole output matches a regular expression; see docs/generation.md for the syntax.</summary>
    /// <param name="expression">The expression.</param>
    /// <returns>The constraint.</returns>
    /// <exception cref="OpenElmException">It is wrong, too large, or of a kind that is not supported; the message says what and where.</exception>
    public static OutputConstraint Regex(string expression)
    {
        ArgumentNullException.ThrowIfNull(expression);
        return new OutputConstraint(RegexParser.Parse(expression).Pattern);
    }

    /// <summary>The output is one JSON document that a schema accepts; see docs/generation.md for the keywords.</summary>
    /// <param name="schema">The schema, as JSON.</param>
    /// <returns>The constraint.</returns>
    /// <exception cref="OpenElmException">It is no JSON, too large, or uses keywords that are not supported; the message names all.</exception>
    public static OutputConstraint JsonSchema(string schema)
    {
        ArgumentNullException.ThrowIfNull(schema);
        // Text after a prompt mostly begins with a blank, which JSON allows.
        return new OutputConstraint(Pattern.Of(Pattern.Text(" ").Optional(), JsonSchemaReader.Read(schema)));
    }
}
