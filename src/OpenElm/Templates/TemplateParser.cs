using System.Collections.Immutable;
using System.Globalization;

namespace OpenElm.Templates;

/// <summary>Reads a template: text, outputs, and the statements that chat templates use. Others are refused by name.</summary>
internal sealed class TemplateParser
{
    const int Deepest = 100;

    readonly List<TemplateToken> _tokens;
    int _at;
    int _depth;

    TemplateParser(List<TemplateToken> tokens) => _tokens = tokens;

    /// <summary>Parses a template.</summary>
    /// <param name="source">The template.</param>
    /// <returns>Its parts.</returns>
    /// <exception cref="OpenElmException">It is wrong, or uses what is not supported.</exception>
    public static ImmutableArray<TemplateNode> Parse(string source)
    {
        var parser = new TemplateParser(TemplateLexer.Split(source));
        ImmutableArray<TemplateNode> nodes = parser.Body();
        return parser.Now.Kind == TokenKind.End ? nodes : throw parser.Wrong($"{{% {parser._tokens[parser._at + 1].Text} %}} closes nothing");
    }

    TemplateToken Now => _tokens[_at];

    // Up to the end or a statement that the caller knows.
    ImmutableArray<TemplateNode> Body(params string[] ends)
    {
        Enter();
        var nodes = ImmutableArray.CreateBuilder<TemplateNode>();
        while (Now.Kind != TokenKind.End)
        {
            if (Now.Kind == TokenKind.Text)
            {
                nodes.Add(new TemplateNode.Text(Now.Text, Now.Line));
                _at++;
            }
            else if (Now.Kind == TokenKind.BeginOutput)
            {
                int line = Now.Line;
                _at++;
                nodes.Add(new TemplateNode.Output(Expression(), line));
                Expect(TokenKind.EndOutput, "}}");
            }
            else if (_tokens[_at + 1] is { Kind: TokenKind.Name, Text: var name } && (ends.Contains(name) || name.StartsWith("end", StringComparison.Ordinal) || name is "else" or "elif"))
            {
                break;
            }
            else
            {
                nodes.AddRange(Statement());
            }
        }

        _depth--;
        return nodes.ToImmutable();
    }

    ImmutableArray<TemplateNode> Statement()
    {
        int line = Now.Line;
        _at++;
        string name = Name();
        switch (name)
        {
            case "if":
                return [If(line)];
            case "for":
                return [For(line)];
            case "set":
                return [Set(line)];
            case "break" or "continue":
                Expect(TokenKind.EndStatement, "%}");
                return [new TemplateNode.Leave(name == "break", line)];
            case "generation": // marks the assistant's text for training
                Expect(TokenKind.EndStatement, "%}");
                ImmutableArray<TemplateNode> body = Body();
                Close("endgeneration");
                return body;
            default:
                throw Wrong($"{{% {name} %}} is not supported");
        }
    }

    TemplateNode.If If(int line)
    {
        var branches = ImmutableArray.CreateBuilder<(Expression?, ImmutableArray<TemplateNode>)>();
        Expression? condition = Expression();
        while (true)
        {
            Expect(TokenKind.EndStatement, "%}");
            branches.Add((condition, Body()));
            if (NextStatementIs("elif") && condition is not null)
            {
                _at += 2;
                condition = Expression();
            }
            else if (NextStatementIs("else") && condition is not null)
            {
                _at += 2;
                condition = null;
            }
            else
            {
                Close("endif");
                return new TemplateNode.If(branches.ToImmutable(), line);
            }
        }
    }

    TemplateNode.For For(int line)
    {
        var names = ImmutableArray.CreateBuilder<string>();
        do
        {
            names.Add(Name());
        }
        while (Take(","));
        if (!TakeName("in"))
        {
            throw Wrong("a loop needs 'in'");
        }

        Expression items = Or(); // not a choice, whose 'if' would take the loop's condition
        Expression? condition = TakeName("if") ? Expression() : null;
        Expect(TokenKind.EndStatement, "%}");
        ImmutableArray<TemplateNode> body = Body();
        if (NextStatementIs("else"))
        {
            throw Wrong("{% else %} of a loop is not supported");
        }

        Close("endfor");
        return new TemplateNode.For(names.ToImmutable(), items, condition, body, line);
    }

    TemplateNode.Set Set(int line)
    {
        string name = Name();
        string? attribute = Take(".") ? Name() : null;
        if (!Take("="))
        {
            throw Wrong("{% set %} needs '=' and a value");
        }

        Expression value = Expression();
        Expect(TokenKind.EndStatement, "%}");
        return new TemplateNode.Set(name, attribute, value, line);
    }

    Expression Expression()
    {
        Enter();
        Expression value = Or();
        int line = Now.Line;
        if (TakeName("if"))
        {
            Expression condition = Or();
            value = new Expression.Choice(condition, value, TakeName("else") ? Expression() : null, line);
        }

        _depth--;
        return value;
    }

    Expression Or()
    {
        Expression left = And();
        for (int line = Now.Line; TakeName("or");)
        {
            left = new Expression.Binary("or", left, And(), line);
        }

        return left;
    }

    Expression And()
    {
        Expression left = Not();
        for (int line = Now.Line; TakeName("and");)
        {
            left = new Expression.Binary("and", left, Not(), line);
        }

        return left;
    }

    Expression Not()
    {
        int line = Now.Line;
        if (!TakeName("not"))
        {
            return Comparison();
        }

        Enter();
        Expression operand = Not();
        _depth--;
        return new Expression.Unary("not", operand, line);
    }

    Expression Comparison()
    {
        Expression left = Sum();
        int line = Now.Line;
        string? Operator()
        {
            if (Now.Kind == TokenKind.Symbol && Now.Text is "==" or "!=" or "<" or ">" or "<=" or ">=")
            {
                return _tokens[_at++].Text;
            }

            if (Now.IsName("not") && _tokens[_at + 1].IsName("in"))
            {
                _at += 2;
                return "not in";
            }

            return TakeName("in") ? "in" : null;
        }

        if (Operator() is not { } comparison)
        {
            return left;
        }

        Expression result = new Expression.Binary(comparison, left, Sum(), line);
        return Operator() is null ? result : throw Wrong("chained comparisons are not supported");
    }

    Expression Sum() => LeftToRight(Concatenation, "+", "-");

    Expression Concatenation() => LeftToRight(Product, "~");

    Expression Product() => LeftToRight(Unary, "*", "/", "//", "%");

    Expression LeftToRight(Func<Expression> operand, params string[] operators)
    {
        Expression left = operand();
        while (Now.Kind == TokenKind.Symbol && operators.Contains(Now.Text))
        {
            TemplateToken sign = _tokens[_at++];
            left = new Expression.Binary(sign.Text, left, operand(), sign.Line);
        }

        return left;
    }

    Expression Unary()
    {
        if (Now.Kind == TokenKind.Symbol && Now.Text is "-" or "+")
        {
            TemplateToken sign = _tokens[_at++];
            Enter();
            Expression operand = Unary();
            _depth--;
            return new Expression.Unary(sign.Text, operand, sign.Line);
        }

        return Postfix(Primary());
    }

    Expression Postfix(Expression value)
    {
        while (true)
        {
            int line = Now.Line;
            if (Take("."))
            {
                string name = Now.Kind == TokenKind.Number ? _tokens[_at++].Text : Name();
                value = Take("(")
                    ? new Expression.Apply(value, name, IsFilter: false, Arguments().Positional, line)
                    : new Expression.Member(value, new Expression.Constant(name, line), line);
            }
            else if (Take("["))
            {
                value = Subscript(value, line);
            }
            else if (Take("|"))
            {
                string name = Name();
                if (!TemplateFunctions.IsFilter(name))
                {
                    throw Wrong($"the filter {name} is not supported");
                }

                value = new Expression.Apply(value, name, IsFilter: true, Take("(") ? Arguments().Positional : [], line);
            }
            else if (TakeName("is"))
            {
                bool negated = TakeName("not");
                string name = Name();
                value = TemplateFunctions.IsTest(name) ? new Expression.Test(value, name, negated, line) : throw Wrong($"the test {name} is not supported");
            }
            else
            {
                return value;
            }
        }
    }

    Expression Subscript(Expression owner, int line)
    {
        Expression? from = Now.IsSymbol(":") ? null : Expression();
        if (!Take(":"))
        {
            Require("]");
            return new Expression.Member(owner, from!, line);
        }

        Expression? to = Now.IsSymbol("]") || Now.IsSymbol(":") ? null : Expression();
        if (Now.IsSymbol(":"))
        {
            throw Wrong("slices with a step are not supported");
        }

        Require("]");
        return new Expression.Slice(owner, from, to, line);
    }

    Expression Primary()
    {
        TemplateToken token = _tokens[_at++];
        switch (token)
        {
            case { Kind: TokenKind.String }:
                string text = token.Text;
                while (Now.Kind == TokenKind.String)
                {
                    text += _tokens[_at++].Text; // as in Python, neighbours are one string
                }

                return new Expression.Constant(text, token.Line);
            case { Kind: TokenKind.Number }:
                return new Expression.Constant(
                    long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long whole) ? (object)whole : double.Parse(token.Text, CultureInfo.InvariantCulture), token.Line);
            case { Kind: TokenKind.Name, Text: "true" or "True" }:
                return new Expression.Constant(true, token.Line);
            case { Kind: TokenKind.Name, Text: "false" or "False" }:
                return new Expression.Constant(false, token.Line);
            case { Kind: TokenKind.Name, Text: "none" or "None" }:
                return new Expression.Constant(null, token.Line);
            case { Kind: TokenKind.Name }:
                if (!Take("("))
                {
                    return new Expression.Variable(token.Text, token.Line);
                }

                (ImmutableArray<Expression> arguments, var named) = Arguments();
                return TemplateFunctions.IsFunction(token.Text) ? new Expression.Call(token.Text, arguments, named, token.Line) : throw Wrong($"the function {token.Text} is not supported");
            case { Kind: TokenKind.Symbol, Text: "(" }:
                Expression inner = Expression();
                if (Now.IsSymbol(","))
                {
                    throw Wrong("tuples are not supported");
                }

                Require(")");
                return inner;
            case { Kind: TokenKind.Symbol, Text: "[" }:
                return new Expression.ListOf([.. Separated("]", Expression)], token.Line);
            case { Kind: TokenKind.Symbol, Text: "{" }:
                return new Expression.MapOf([.. Separated("}", () =>
                {
                    Expression key = Expression();
                    Require(":");
                    return (key, Expression());
                })], token.Line);
            default:
                _at--;
                throw Wrong($"a value is missing before '{token.Text}'");
        }
    }

    (ImmutableArray<Expression> Positional, ImmutableArray<(string, Expression)> Named) Arguments()
    {
        var named = ImmutableArray.CreateBuilder<(string, Expression)>();
        var positional = ImmutableArray.CreateBuilder<Expression>();
        foreach ((string? name, Expression value) in Separated(")", () => Now.Kind == TokenKind.Name && _tokens[_at + 1].IsSymbol("=") ? (NameAndEquals(), Expression()) : ((string?)null, Expression())))
        {
            if (name is null)
            {
                positional.Add(value);
            }
            else
            {
                named.Add((name, value));
            }
        }

        return (positional.ToImmutable(), named.ToImmutable());

        string NameAndEquals()
        {
            string name = Name();
            _at++;
            return name;
        }
    }

    List<T> Separated<T>(string end, Func<T> item)
    {
        var items = new List<T>();
        while (!Take(end))
        {
            items.Add(item());
            if (!Take(",") && !Now.IsSymbol(end))
            {
                throw Wrong($"'{end}' is missing");
            }
        }

        return items;
    }

    bool NextStatementIs(string name) => Now.Kind == TokenKind.BeginStatement && _tokens[_at + 1].IsName(name);

    void Close(string name)
    {
        if (!NextStatementIs(name))
        {
            throw Wrong($"{{% {name} %}} is missing");
        }

        _at += 2;
        Expect(TokenKind.EndStatement, "%}");
    }

    string Name() => Now.Kind == TokenKind.Name ? _tokens[_at++].Text : throw Wrong("a name is missing");

    bool TakeName(string name)
    {
        bool found = Now.IsName(name);
        _at += found ? 1 : 0;
        return found;
    }

    bool Take(string symbol)
    {
        bool found = Now.IsSymbol(symbol);
        _at += found ? 1 : 0;
        return found;
    }

    void Require(string symbol)
    {
        if (!Take(symbol))
        {
            throw Wrong($"'{symbol}' is missing");
        }
    }

    void Expect(TokenKind kind, string text)
    {
        if (Now.Kind != kind)
        {
            throw Wrong($"'{text}' is missing before '{Now.Text}'");
        }

        _at++;
    }

    void Enter()
    {
        if (++_depth > Deepest)
        {
            throw Wrong($"it is nested more than {Deepest} deep");
        }
    }

    OpenElmException Wrong(string what) => new($"The template cannot be used, line {Now.Line}: {what}.");
}
