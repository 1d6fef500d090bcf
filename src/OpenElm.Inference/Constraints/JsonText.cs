using System.Globalization;

namespace OpenElm.Inference.Constraints;

/// <summary>Texts of JSON as patterns.</summary>
internal static class JsonText
{
    static readonly CodePoints NeedsEscape = CodePoints.Of((0, 0x1F), ('"', '"'), ('\\', '\\'));

    static readonly CodePoints Plain = NeedsEscape.Complement();

    static readonly Pattern Hex = Characters(('0', '9'), ('a', 'f'), ('A', 'F'));

    static readonly Pattern Digit = Characters(('0', '9'));

    /// <summary>One character of a string, written plainly or escaped; never half of a surrogate pair.</summary>
    public static Pattern Character { get; } = new Pattern.Alternatives(
    [
        new Pattern.Characters(Plain),
        Pattern.Of(Pattern.Text("\\"), new Pattern.Characters(CodePoints.Of("\"\\/bfnrt"))),
        Pattern.Of(Pattern.Text("\\u"), new Pattern.Alternatives(
        [
            Pattern.Of(Characters(('0', '9'), ('a', 'c'), ('e', 'f'), ('A', 'C'), ('E', 'F')), Hex, Hex, Hex),
            Pattern.Of(new Pattern.Characters(CodePoints.Of("dD")), Characters(('0', '7')), Hex, Hex),
        ])),
    ]);

    /// <summary>A whole number of at most 16 digits, so that it fits 64 bits.</summary>
    public static Pattern Integer { get; } = Pattern.Of(
        Pattern.Text("-").Optional(),
        new Pattern.Alternatives([Pattern.Text("0"), Pattern.Of(Characters(('1', '9')), new Pattern.Repeat(Digit, 0, 15))]));

    /// <summary>A number of at most 16 digits before and behind the point, and an exponent of two, so that it is finite and ends.</summary>
    public static Pattern Number { get; } = Pattern.Of(
        Integer,
        Pattern.Of(Pattern.Text("."), new Pattern.Repeat(Digit, 1, 16)).Optional(),
        Pattern.Of(new Pattern.Characters(CodePoints.Of("eE")), new Pattern.Characters(CodePoints.Of("+-")).Optional(), new Pattern.Repeat(Digit, 1, 2)).Optional());

    /// <summary>Between members and items: a comma, and a blank if the model likes.</summary>
    public static Pattern Comma { get; } = Pattern.Of(Pattern.Text(","), Pattern.Text(" ").Optional());

    /// <summary>Between name and value.</summary>
    public static Pattern Colon { get; } = Pattern.Of(Pattern.Text(":"), Pattern.Text(" ").Optional());

    /// <summary>A string in quotes.</summary>
    /// <param name="content">What stands between them.</param>
    /// <returns>The pattern.</returns>
    public static Pattern Quoted(Pattern content) => Pattern.Of(Pattern.Text("\""), content, Pattern.Text("\""));

    /// <summary>A string of one value.</summary>
    /// <param name="value">The value.</param>
    /// <returns>The pattern.</returns>
    public static Pattern Quoted(string value) => Quoted(Escaped(Pattern.Text(value)));

    /// <summary>Patterns of a string's value become patterns of its text in JSON.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <returns>The same, with escapes where JSON asks for them.</returns>
    public static Pattern Escaped(Pattern pattern) => pattern switch
    {
        Pattern.Characters characters => EscapedCharacters(characters.Set),
        Pattern.Sequence sequence => new Pattern.Sequence([.. sequence.Parts.Select(Escaped)]),
        Pattern.Alternatives alternatives => new Pattern.Alternatives([.. alternatives.Choices.Select(Escaped)]),
        Pattern.Repeat repeat => repeat with { Body = Escaped(repeat.Body) },
        _ => throw new InvalidOperationException($"No regular expression has {pattern}."),
    };

    static Pattern EscapedCharacters(CodePoints set)
    {
        var plain = new Pattern.Characters(set.And(Plain));
        CodePoints others = set.And(NeedsEscape);
        return others.Ranges.IsEmpty
            ? plain
            : new Pattern.Alternatives([plain, .. others.Ranges.SelectMany(range => Enumerable.Range(range.First, range.Last - range.First + 1)).Select(Escape)]);
    }

    static Pattern Escape(int character) => Pattern.Text(character switch
    {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\b' => "\\b",
        '\f' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ => "\\u" + character.ToString("x4", CultureInfo.InvariantCulture),
    });

    static Pattern.Characters Characters(params (int, int)[] ranges) => new(CodePoints.Of(ranges));
}
