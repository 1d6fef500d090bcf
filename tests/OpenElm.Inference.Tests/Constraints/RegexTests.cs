using System.Text;
using System.Text.RegularExpressions;
using OpenElm.Inference.Constraints;

namespace OpenElm.Inference.Tests.Constraints;

/// <summary>Regular expressions with .NET's own as the referee.</summary>
public sealed class RegexTests
{
    public static TheoryData<string> Expressions =>
    [
        "yes|no|maybe", "", "a*", "(ab|c)+d?", "[0-9]{3}-[0-9]{4}", @"\d{1,3}(\.\d{1,3}){3}", "^abc$", @"[^a-c\n]{2,5}", ".{0,6}", @"\w+@\w+\.(com|org)",
        @"-?(0|[1-9]\d*)(\.\d+)?", "(a|b)*a(a|b)(a|b)", "(?:x{2,3}y?){2}", "(?<year>[12][0-9]{3})-(?<month>0[1-9]|1[0-2])", "[ab]{2,}?c", @"[\]\-\\^]+", "[a-c-]+[-b]?", @"\$\{\}\x41é",
        "[à-ü]{1,3}|[α-ω]+ ?", @"\u00e9?[^\x00-\x7f]", @"\s\S\D\W", "((a?)?b)*", "( (one|two|three))+!", "()|(a|)b", "[😀-😎]+x", "[^\"]*\"",
    ];

    [Theory, MemberData(nameof(Expressions))]
    public void Every_finished_output_matches(string expression)
    {
        OutputConstraint constraint = OutputConstraint.Regex(expression);
        Regex referee = Referee(expression);
        foreach (bool afterPrompt in new[] { false, true })
        {
            var outputs = RandomOutputs.Of(constraint, 200, afterPrompt).ToList();
            Assert.All(outputs, text => Assert.True(referee.IsMatch(Comparable(text)), $"'{text}' does not match {expression}"));
        }
    }

    [Theory, MemberData(nameof(Expressions))]
    public void It_accepts_what_the_referee_accepts(string expression)
    {
        var automaton = new Automaton(OutputConstraint.Regex(expression).Nfa);
        Regex referee = Referee(expression);
        var random = new Random(4);
        string[] alphabet = [.. expression.EnumerateRunes().Select(rune => rune.ToString()), .. "ab01 -.\n\\é".Select(c => c.ToString())];
        string[] outputs = [.. RandomOutputs.Of(OutputConstraint.Regex(expression), 50, afterPrompt: true)];
        int accepted = 0;
        for (int i = 0; i < 3000; i++)
        {
            // Random texts, and matching texts with a change.
            var text = new StringBuilder(i % 2 == 0 ? "" : outputs[random.Next(outputs.Length)]);
            for (int changes = random.Next(i % 2 == 0 ? 8 : 3); changes > 0; changes--)
            {
                int at = random.Next(text.Length + 1);
                if (random.Next(3) == 0 && at < text.Length && !char.IsSurrogate(text[at]))
                {
                    text.Remove(at, 1);
                }
                else if (at == text.Length || !char.IsLowSurrogate(text[at]))
                {
                    text.Insert(at, alphabet[random.Next(alphabet.Length)]);
                }
            }

            bool found = Accepts(automaton, text.ToString());
            Assert.True(referee.IsMatch(Comparable(text.ToString())) == found, $"'{text}' and {expression}: found {found}");
            accepted += found ? 1 : 0;
        }

        Assert.InRange(accepted, 1, 2999);
    }

    [Theory]
    [InlineData("a++", "possessive")]
    [InlineData("(?=a)", "look-around")]
    [InlineData("(?<!a)b", "look-around")]
    [InlineData("(?i)a", "inline settings")]
    [InlineData("(?>a)", "atomic")]
    [InlineData(@"(a)\1", @"\1 is not supported")]
    [InlineData(@"\bword", @"\b is not supported")]
    [InlineData(@"\p{L}", @"\p is not supported")]
    [InlineData("a^b", "ends of the whole")]
    [InlineData("a$b", "ends of the whole")]
    [InlineData("^a|b$", "need a group")]
    [InlineData("(a", "not closed")]
    [InlineData("a)", "closes no group")]
    [InlineData("[a", "not closed")]
    [InlineData("[]", "empty")]
    [InlineData("[]b]", "empty")] // .NET and JavaScript read it differently
    [InlineData("[b-a]", "later one")]
    [InlineData(@"[\d-z]", "later one")]
    [InlineData("[[:alpha:]]", "[:name:]")]
    [InlineData("[a-z-[aeiou]]", "subtraction")]
    [InlineData("*a", "repeats nothing")]
    [InlineData("a**", "repeated")]
    [InlineData("a{2,1}", "counts up")]
    [InlineData("a{x}", "begins no repetition")]
    [InlineData("a{99999}", "10000 at most")]
    [InlineData("(a{9999}){9999}", "too large")]
    [InlineData(@"a\", "backslash")]
    [InlineData(@"\xZZ", "hexadecimal")]
    [InlineData(@"\ud800", "surrogate")]
    [InlineData(@"[^\s\S]", "no text at all")]
    public void What_is_not_supported_is_named(string expression, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => OutputConstraint.Regex(expression)).Message);

    [Fact]
    public void Deep_nesting_is_refused() =>
        Assert.Contains("deep", Assert.Throws<OpenElmException>(() => OutputConstraint.Regex(new string('(', 100_000))).Message);

    static Regex Referee(string expression) =>
        new(@"^(?:" + Comparable(expression) + @")(?![\s\S])", RegexOptions.ECMAScript | RegexOptions.CultureInvariant); // not $, which matches before a last line break

    // .NET's expressions see two characters where a code point needs two: such characters are moved to the private use area.
    internal static string Comparable(string text) =>
        string.Concat(text.EnumerateRunes().Select(rune => rune.IsBmp ? rune.ToString() : ((char)(0xE000 + (rune.Value % 0x1800))).ToString()));

    static bool Accepts(Automaton automaton, string text)
    {
        AutomatonState state = automaton.Start;
        foreach (byte value in Encoding.UTF8.GetBytes(text))
        {
            if (!automaton.TryStep(state, value, out AutomatonState? next))
            {
                return false;
            }

            state = next;
        }

        return state.IsAccepting;
    }
}
