using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace OpenElm.Inference.Constraints;

/// <summary>
/// Reads a regular expression: characters, <c>.</c>, classes, groups, alternatives, repetitions, and <c>^</c> and <c>$</c> at
/// its ends. What a finite automaton cannot do, or what depends on a setting, is refused by name.
/// </summary>
internal sealed class RegexParser
{
    const int MostRepetitions = 10_000, DeepestGroup = 200;

    readonly string _text;
    int _at;
    int _depth;

    RegexParser(string text) => _text = text;

    /// <summary>Parses a whole expression.</summary>
    /// <param name="expression">The expression.</param>
    /// <returns>Its texts, and whether it says where they begin and end.</returns>
    /// <exception cref="OpenElmException">It is wrong or not supported.</exception>
    public static (Pattern Pattern, bool IsAnchoredAtStart, bool IsAnchoredAtEnd) Parse(string expression)
    {
        bool start = expression is ['^', ..];
        bool end = expression is [.., '$'] && (expression.Length - 1 - expression.AsSpan(0, expression.Length - 1).TrimEnd('\\').Length) % 2 == 0;
        var parser = new RegexParser(end ? expression[..^1] : expression) { _at = start ? 1 : 0 };
        Pattern pattern = parser.Alternatives();
        if (parser._at < parser._text.Length)
        {
            throw parser.Wrong("')' closes no group");
        }

        // ^a|b$ would anchor each alternative on one side only.
        return (start || end) && pattern is Pattern.Alternatives
            ? throw parser.Wrong("alternatives beside ^ or $ need a group: ^(?:a|b)$")
            : (pattern, start, end);
    }

    Pattern Alternatives()
    {
        var choices = ImmutableArray.CreateBuilder<Pattern>();
        do
        {
            choices.Add(Sequence());
        }
        while (Take('|'));
        return choices.Count == 1 ? choices[0] : new Pattern.Alternatives(choices.ToImmutable());
    }

    Pattern Sequence()
    {
        var parts = ImmutableArray.CreateBuilder<Pattern>();
        while (_at < _text.Length && _text[_at] is not ('|' or ')'))
        {
            parts.Add(Repeated(Atom()));
        }

        return parts.Count == 1 ? parts[0] : new Pattern.Sequence(parts.ToImmutable());
    }

    Pattern Repeated(Pattern body)
    {
        if (_at == _text.Length)
        {
            return body;
        }

        (int least, int? most)? counts = _text[_at] switch
        {
            '*' => (0, null),
            '+' => (1, null),
            '?' => (0, 1),
            '{' => Counts(),
            _ => null,
        };
        if (counts is not (int from, var to))
        {
            return body;
        }

        _at++;
        if (Take('+'))
        {
            throw Wrong("possessive repetition is not supported");
        }

        Take('?'); // lazy or not, the texts are the same
        return _at < _text.Length && _text[_at] is '*' or '+' or '?' or '{' ? throw Wrong("a repetition is repeated; put it into a group") : new Pattern.Repeat(body, from, to);
    }

    // {2}, {2,} or {2,5}; stands at the closing brace afterwards.
    (int Least, int? Most)? Counts()
    {
        int end = _text.IndexOf('}', _at);
        string[] parts = end < 0 ? [] : _text[(_at + 1)..end].Split(',');
        int? Number(string part) => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
        int? least = parts is [var first, ..] ? Number(first) : null;
        int? most = parts is [_, { Length: > 0 } second] ? Number(second) : parts is [_] ? least : null;
        if (least is null || parts.Length > 2 || (parts is [_, { Length: > 0 }] && most is null))
        {
            throw Wrong("'{' begins no repetition such as {2,5}; write \\{ for the character");
        }

        if (most < least || (most ?? least) > MostRepetitions)
        {
            throw Wrong($"a repetition counts up, and to {MostRepetitions} at most");
        }

        _at = end;
        return (least.Value, most);
    }

    Pattern Atom()
    {
        char c = _text[_at];
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                _at++;
                return new Pattern.Characters(Class());
            case '.':
                _at++;
                return new Pattern.Characters(CodePoints.Of("\n").Complement());
            case '\\':
                _at++;
                return new Pattern.Characters(Escape());
            case '^' or '$':
                throw Wrong($"'{c}' is only supported at the ends of the whole expression; write \\{c} for the character");
            case '*' or '+' or '?':
                throw Wrong($"'{c}' repeats nothing; write \\{c} for the character");
            case '{':
                throw Wrong("'{' repeats nothing; write \\{ for the character");
            default:
                int value = Character();
                return new Pattern.Characters(CodePoints.Of((value, value)));
        }
    }

    Pattern Group()
    {
        int start = _at++;
        if (Take('?'))
        {
            int name = _text.IndexOf('>', _at);
            if (_text.AsSpan(_at) is ['<', not ('=' or '!'), ..] && name > 0)
            {
                _at = name + 1;
            }
            else if (!Take(':'))
            {
                throw Wrong("look-around, atomic groups, conditions and inline settings are not supported; (…), (?:…) and (?<name>…) are");
            }
        }

        if (++_depth > DeepestGroup)
        {
            throw Wrong($"groups are nested more than {DeepestGroup} deep");
        }

        Pattern pattern = Alternatives();
        _depth--;
        if (!Take(')'))
        {
            _at = start;
            throw Wrong("a group is not closed");
        }

        return pattern;
    }

    CodePoints Class()
    {
        int start = _at - 1;
        bool negated = Take('^');
        var ranges = new List<(int, int)>();
        if (Take(']'))
        {
            throw Wrong("a class is empty; write \\] for the character");
        }

        while (!Take(']'))
        {
            if (_at == _text.Length)
            {
                _at = start;
                throw Wrong("a class is not closed");
            }

            if (_text[_at] == '[' && _at + 1 < _text.Length && (_text[_at + 1] == ':' || _text[_at - 1] == '-'))
            {
                throw Wrong("[:name:] and subtraction inside a class are not supported");
            }

            CodePoints from = ClassItem();
            if (_text.AsSpan(_at) is ['-', not ']', ..])
            {
                _at++;
                CodePoints to = ClassItem();
                if (from.Ranges is not [(int low, int low2)] || to.Ranges is not [(int high, int high2)] || low != low2 || high != high2 || low > high)
                {
                    throw Wrong("a range of a class must go from a character to a later one");
                }

                ranges.Add((low, high));
            }
            else
            {
                ranges.AddRange(from.Ranges);
            }
        }

        var set = CodePoints.Of(ranges);
        return negated ? set.Complement() : set;
    }

    CodePoints ClassItem()
    {
        if (Take('\\'))
        {
            return Escape();
        }

        int value = _at < _text.Length ? Character() : throw Wrong("a class is not closed");
        return CodePoints.Of((value, value));
    }

    // Behind the backslash. Digits, words and blanks are ASCII's, as in JavaScript without flags.
    CodePoints Escape()
    {
        if (_at == _text.Length)
        {
            throw Wrong("the expression ends with a backslash");
        }

        char c = _text[_at++];
        return c switch
        {
            'd' => Digits,
            'D' => Digits.Complement(),
            'w' => Words,
            'W' => Words.Complement(),
            's' => Blanks,
            'S' => Blanks.Complement(),
            'n' => CodePoints.Of("\n"),
            'r' => CodePoints.Of("\r"),
            't' => CodePoints.Of("\t"),
            'f' => CodePoints.Of("\f"),
            'v' => CodePoints.Of("\v"),
            'x' => Hexadecimal(2),
            'u' => Hexadecimal(4),
            _ when char.IsAsciiLetterOrDigit(c) => throw Wrong($"\\{c} is not supported"),
            _ when char.IsSurrogate(c) => throw Wrong("a backslash stands before a character that needs none"),
            _ => CodePoints.Of((c, c)),
        };
    }

    CodePoints Hexadecimal(int digits)
    {
        if (_at + digits > _text.Length || !int.TryParse(_text.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value)
            || char.IsSurrogate((char)value))
        {
            throw Wrong($"\\{_text[_at - 1]} needs {digits} hexadecimal digits, and no surrogate");
        }

        _at += digits;
        return CodePoints.Of((value, value));
    }

    int Character()
    {
        if (Rune.DecodeFromUtf16(_text.AsSpan(_at), out Rune rune, out int length) != System.Buffers.OperationStatus.Done)
        {
            throw Wrong("half a character");
        }

        _at += length;
        return rune.Value;
    }

    bool Take(char c)
    {
        bool found = _at < _text.Length && _text[_at] == c;
        _at += found ? 1 : 0;
        return found;
    }

    OpenElmException Wrong(string what) => new($"The regular expression is wrong at character {_at + 1} of '{_text}': {what}.");

    static CodePoints Digits { get; } = CodePoints.Of(('0', '9'));

    static CodePoints Words { get; } = CodePoints.Of(('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_'));

    static CodePoints Blanks { get; } = CodePoints.Of(" \t\n\r\f\v");
}
