using System.Text;

namespace OpenElm.Templates;

/// <summary>
/// Splits a template into tokens, with the settings of transformers: the line break behind a statement or a comment goes
/// (<c>trim_blocks</c>), and so do blanks before one at the beginning of a line (<c>lstrip_blocks</c>).
/// </summary>
internal sealed class TemplateLexer
{
    static readonly string[] Symbols = ["==", "!=", "<=", ">=", "//", "**", "<", ">", "+", "-", "*", "/", "%", "~", "|", ".", ",", ":", "(", ")", "[", "]", "{", "}", "="];

    readonly string _source;
    readonly List<TemplateToken> _tokens = [];
    int _at;
    int _line = 1;
    int _counted; // line breaks are counted up to here

    TemplateLexer(string source) => _source = source.ReplaceLineEndings("\n") is [.. var body, '\n'] ? body : source.ReplaceLineEndings("\n"); // Jinja drops one last line break

    /// <summary>Splits a template.</summary>
    /// <param name="source">The template.</param>
    /// <returns>Its tokens; the last is the end.</returns>
    /// <exception cref="OpenElmException">A tag is not closed, or holds what no token begins with.</exception>
    public static List<TemplateToken> Split(string source)
    {
        var lexer = new TemplateLexer(source);
        lexer.Split();
        return lexer._tokens;
    }

    void Split()
    {
        var trim = Trim.Nothing;
        while (true)
        {
            int tag = NextTag(_at);
            string text = _source[_at..tag];
            text = trim switch
            {
                Trim.Blanks => text.TrimStart(),
                Trim.LineBreak when text is ['\n', ..] => text[1..],
                _ => text,
            };

            bool atEnd = tag == _source.Length;
            if (!atEnd)
            {
                text = TrimmedBefore(text, tag);
            }

            Add(TokenKind.Text, text);
            if (atEnd)
            {
                _tokens.Add(new TemplateToken(TokenKind.End, "", _line));
                return;
            }

            _at = tag;
            trim = _source[tag + 1] == '#' ? Comment() : Tag(isOutput: _source[tag + 1] == '{');
        }
    }

    int NextTag(int from)
    {
        for (int at = from; (at = _source.IndexOf('{', at)) >= 0; at++)
        {
            if (at + 1 < _source.Length && _source[at + 1] is '{' or '%' or '#')
            {
                return at;
            }
        }

        return _source.Length;
    }

    string TrimmedBefore(string text, int tag)
    {
        switch (tag + 2 < _source.Length ? _source[tag + 2] : ' ')
        {
            case '-':
                return text.TrimEnd();
            case '+':
                return text;
            default:
                // Only blanks between the beginning of the line and a statement or a comment.
                int line = _source.LastIndexOf('\n', Math.Max(0, tag - 1)) + 1;
                bool alone = _source[tag + 1] != '{' && _source.AsSpan(line, tag - line).TrimStart().IsEmpty;
                return alone ? text.TrimEnd(' ', '\t') : text;
        }
    }

    // Returns what goes behind it.
    Trim Comment()
    {
        int end = _source.IndexOf("#}", _at, StringComparison.Ordinal);
        if (end < 0)
        {
            throw Wrong("a comment is not closed");
        }

        _at = end + 2;
        return Behind(_source[end - 1], isOutput: false);
    }

    Trim Tag(bool isOutput)
    {
        Add(isOutput ? TokenKind.BeginOutput : TokenKind.BeginStatement, "");
        _at += 2;
        _at += _at < _source.Length && _source[_at] is '-' or '+' ? 1 : 0;
        string close = isOutput ? "}}" : "%}";
        for (int depth = 0; ;)
        {
            while (_at < _source.Length && char.IsWhiteSpace(_source[_at]))
            {
                _at++;
            }

            if (_at == _source.Length)
            {
                throw Wrong("a tag is not closed");
            }

            ReadOnlySpan<char> rest = _source.AsSpan(_at);
            if (depth == 0 && (rest.StartsWith(close, StringComparison.Ordinal) || (rest[0] is '-' or '+' && rest[1..].StartsWith(close, StringComparison.Ordinal))))
            {
                Trim trim = Behind(rest[0], isOutput);
                Add(isOutput ? TokenKind.EndOutput : TokenKind.EndStatement, "");
                _at += rest[0] is '-' or '+' ? 3 : 2;
                return trim;
            }

            depth += rest[0] is '(' or '[' or '{' ? 1 : rest[0] is ')' or ']' or '}' ? -1 : 0;
            Word(rest);
        }
    }

    static Trim Behind(char sign, bool isOutput) => sign == '-' ? Trim.Blanks : sign == '+' || isOutput ? Trim.Nothing : Trim.LineBreak;

    void Word(ReadOnlySpan<char> rest)
    {
        if (rest[0] is '\'' or '"')
        {
            String();
        }
        else if (char.IsAsciiDigit(rest[0]))
        {
            int length = 1;
            while (length < rest.Length && (char.IsAsciiDigit(rest[length]) || (rest[length] == '.' && length + 1 < rest.Length && char.IsAsciiDigit(rest[length + 1]))))
            {
                length++;
            }

            Add(TokenKind.Number, rest[..length].ToString());
            _at += length;
        }
        else if (char.IsLetter(rest[0]) || rest[0] == '_')
        {
            int length = 1;
            while (length < rest.Length && (char.IsLetterOrDigit(rest[length]) || rest[length] == '_'))
            {
                length++;
            }

            Add(TokenKind.Name, rest[..length].ToString());
            _at += length;
        }
        else
        {
            foreach (string symbol in Symbols)
            {
                if (rest.StartsWith(symbol, StringComparison.Ordinal))
                {
                    Add(TokenKind.Symbol, symbol);
                    _at += symbol.Length;
                    return;
                }
            }

            throw Wrong($"'{rest[0]}' begins no token");
        }
    }

    void String()
    {
        char quote = _source[_at];
        var text = new StringBuilder();
        int at = _at + 1;
        for (; at < _source.Length && _source[at] != quote; at++)
        {
            if (_source[at] != '\\' || at + 1 == _source.Length)
            {
                text.Append(_source[at]);
                continue;
            }

            at++;
            text.Append(_source[at] switch
            {
                'n' => "\n",
                't' => "\t",
                'r' => "\r",
                '\\' or '\'' or '"' => _source[at].ToString(),
                _ => "\\" + _source[at], // as Python keeps what is no escape
            });
        }

        if (at == _source.Length)
        {
            throw Wrong("a string is not closed");
        }

        Add(TokenKind.String, text.ToString());
        _at = at + 1;
    }

    void Add(TokenKind kind, string text)
    {
        _line += _source.AsSpan(_counted, Math.Max(0, _at - _counted)).Count('\n');
        _counted = Math.Max(_counted, _at);
        if (kind != TokenKind.Text || text.Length > 0)
        {
            _tokens.Add(new TemplateToken(kind, text, _line));
        }
    }

    enum Trim
    {
        Nothing,
        LineBreak,
        Blanks,
    }

    OpenElmException Wrong(string what) => new($"The template is wrong in line {_line}: {what}.");
}
