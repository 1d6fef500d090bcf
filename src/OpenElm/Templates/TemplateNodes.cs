using System.Collections.Immutable;

namespace OpenElm.Templates;

/// <summary>A part of a template.</summary>
/// <param name="Line">Where it begins.</param>
internal abstract record TemplateNode(int Line)
{
    /// <summary>Text.</summary>
    public sealed record Text(string Value, int Line) : TemplateNode(Line);

    /// <summary><c>{{ value }}</c>.</summary>
    public sealed record Output(Expression Value, int Line) : TemplateNode(Line);

    /// <summary><c>{% if %} … {% elif %} … {% else %} … {% endif %}</c>; a null condition is the else.</summary>
    public sealed record If(ImmutableArray<(Expression? Condition, ImmutableArray<TemplateNode> Body)> Branches, int Line) : TemplateNode(Line);

    /// <summary><c>{% for a, b in items if condition %} … {% endfor %}</c>.</summary>
    public sealed record For(ImmutableArray<string> Names, Expression Items, Expression? Condition, ImmutableArray<TemplateNode> Body, int Line) : TemplateNode(Line);

    /// <summary><c>{% set name = value %}</c>, or <c>{% set space.name = value %}</c>.</summary>
    public sealed record Set(string Name, string? Attribute, Expression Value, int Line) : TemplateNode(Line);

    /// <summary><c>{% break %}</c> or <c>{% continue %}</c>.</summary>
    public sealed record Leave(bool IsBreak, int Line) : TemplateNode(Line);
}

/// <summary>An expression of a template.</summary>
/// <param name="Line">Where it begins.</param>
internal abstract record Expression(int Line)
{
    /// <summary>A string, a number, true, false or none.</summary>
    public sealed record Constant(object? Value, int Line) : Expression(Line);

    /// <summary>A variable.</summary>
    public sealed record Variable(string Name, int Line) : Expression(Line);

    /// <summary><c>[a, b]</c>.</summary>
    public sealed record ListOf(ImmutableArray<Expression> Items, int Line) : Expression(Line);

    /// <summary><c>{'a': b}</c>.</summary>
    public sealed record MapOf(ImmutableArray<(Expression Key, Expression Value)> Entries, int Line) : Expression(Line);

    /// <summary><c>not a</c>, <c>-a</c> or <c>+a</c>.</summary>
    public sealed record Unary(string Operator, Expression Operand, int Line) : Expression(Line);

    /// <summary><c>a + b</c>, <c>a and b</c>, <c>a in b</c> and the like.</summary>
    public sealed record Binary(string Operator, Expression Left, Expression Right, int Line) : Expression(Line);

    /// <summary><c>a if condition else b</c>.</summary>
    public sealed record Choice(Expression Condition, Expression Then, Expression? Otherwise, int Line) : Expression(Line);

    /// <summary><c>a.name</c> or <c>a[key]</c>.</summary>
    public sealed record Member(Expression Owner, Expression Key, int Line) : Expression(Line);

    /// <summary><c>a[from:to]</c>.</summary>
    public sealed record Slice(Expression Owner, Expression? From, Expression? To, int Line) : Expression(Line);

    /// <summary><c>name(…)</c>.</summary>
    public sealed record Call(string Function, ImmutableArray<Expression> Arguments, ImmutableArray<(string Name, Expression Value)> Named, int Line) : Expression(Line);

    /// <summary><c>a.name(…)</c>, <c>a | name(…)</c>.</summary>
    public sealed record Apply(Expression Operand, string Function, bool IsFilter, ImmutableArray<Expression> Arguments, int Line) : Expression(Line);

    /// <summary><c>a is name</c>.</summary>
    public sealed record Test(Expression Operand, string Name, bool Negated, int Line) : Expression(Line);
}
