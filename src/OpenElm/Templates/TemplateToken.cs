namespace OpenElm.Templates;

/// <summary>What a token of a template is.</summary>
internal enum TokenKind
{
    /// <summary>Text outside of tags.</summary>
    Text,

    /// <summary><c>{{</c>.</summary>
    BeginOutput,

    /// <summary><c>}}</c>.</summary>
    EndOutput,

    /// <summary><c>{%</c>.</summary>
    BeginStatement,

    /// <summary><c>%}</c>.</summary>
    EndStatement,

    /// <summary>A name or a keyword.</summary>
    Name,

    /// <summary>A string, without its quotes.</summary>
    String,

    /// <summary>A whole or a decimal number.</summary>
    Number,

    /// <summary>Punctuation, such as <c>==</c>.</summary>
    Symbol,

    /// <summary>Behind the last.</summary>
    End,
}

/// <summary>A token of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Text">Its characters.</param>
/// <param name="Line">Its line, from 1.</param>
internal readonly record struct TemplateToken(TokenKind Kind, string Text, int Line)
{
    /// <summary>Whether it is this symbol.</summary>
    public bool IsSymbol(string symbol) => Kind == TokenKind.Symbol && Text == symbol;

    /// <summary>Whether it is this name.</summary>
    public bool IsName(string name) => Kind == TokenKind.Name && Text == name;
}
