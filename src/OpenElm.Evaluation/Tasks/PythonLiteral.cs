using System.Globalization;
using System.Text;

namespace OpenElm.Evaluation.Tasks;

/// <summary>Reads what Python prints of lists, dictionaries and strings: some data sets hold such text in a column.</summary>
internal sealed class PythonLiteral
{
    readonly string _text;
    int _at;

    PythonLiteral(string text) => _text = text;

    /// <summary>Reads a value.</summary>
    /// <param name="text">What Python printed.</param>
    /// <returns>The value; null where it is none.</returns>
    public static object? Parse(string text)
    {
        var literal = new PythonLiteral(text);
        try
        {
            object? value = literal.Value();
            return literal.Next() is null ? value : null;
        }
        catch (FormatException)
        {
            return null;
        }
    }

    object? Value() => Next() switch
    {
        '[' => List(),
        '{' => Map(),
        '\'' or '"' => Strings(),
        _ => Word(),
    };

    List<object?> List()
    {
        var items = new List<object?>();
        for (_at++; Next() != ']'; Separator(']'))
        {
            items.Add(Value());
        }

        _at++;
        return items;
    }

    Dictionary<string, object?> Map()
    {
        var map = new Dictionary<string, object?>();
        for (_at++; Next() != '}'; Separator('}'))
        {
            string key = Strings();
            _at += Next() == ':' ? 1 : throw new FormatException();
            map[key] = Value();
        }

        _at++;
        return map;
    }

    void Separator(char end)
    {
        char? next = Next();
        _at += next == ',' ? 1 : next == end ? 0 : throw new FormatException();
    }

    // Strings that stand side by side are one.
    string Strings()
    {
        var text = new StringBuilder();
        do
        {
            Quoted(text);
        }
        while (Next() is '\'' or '"');
        return text.ToString();
    }

    void Quoted(StringBuilder text)
    {
        char quote = Next() is '\'' or '"' ? _text[_at++] : throw new FormatException();
        while (true)
        {
            char c = Taken();
            if (c == quote)
            {
                return;
            }

            if (c != '\\')
            {
                text.Append(c);
                continue;
            }

            c = Taken();
            text.Append(c switch
            {
                'n' => "\n",
                't' => "\t",
                'r' => "\r",
                'x' => Code(2),
                'u' => Code(4),
                'U' => Code(8),
                '\\' or '\'' or '"' => c.ToString(),
                _ => "\\" + c,
            });
        }
    }

    string Code(int digits)
    {
        string hex = _at + digits <= _text.Length ? _text.Substring(_at, digits) : throw new FormatException();
        _at += digits;
        int code = int.Parse(hex, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        return code <= char.MaxValue ? ((char)code).ToString() : Rune.IsValid(code) ? new Rune(code).ToString() : throw new FormatException();
    }

    object? Word()
    {
        int start = _at;
        while (_at < _text.Length && (char.IsLetterOrDigit(_text[_at]) || _text[_at] is '-' or '.'))
        {
            _at++;
        }

        return _text[start.._at] switch
        {
            "None" => null,
            "True" => true,
            "False" => false,
            var number => long.Parse(number, CultureInfo.InvariantCulture),
        };
    }

    char Taken() => _at < _text.Length ? _text[_at++] : throw new FormatException();

    /// <summary>The next character that is no white space; null at the end.</summary>
    char? Next()
    {
        while (_at < _text.Length && char.IsWhiteSpace(_text[_at]))
        {
            _at++;
        }

        return _at < _text.Length ? _text[_at] : null;
    }
}
