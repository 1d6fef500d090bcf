using System.Collections.Immutable;
using System.Text;

namespace OpenElm.Templates;

/// <summary>Renders a template once.</summary>
internal sealed class TemplateRenderer
{
    // Templates come with models, from anywhere: they may not run for ever or fill the memory.
    const int MostSteps = 1_000_000, LongestText = 16_000_000, LongestRange = 10_000;

    readonly StringBuilder _text = new();
    readonly Stack<Dictionary<string, object?>> _scopes = new();
    int _steps;
    bool _leaving, _breaking;

    readonly string _name;
    readonly bool _strict;

    TemplateRenderer(string name, Dictionary<string, object?> variables, bool strict)
    {
        (_name, _strict) = (name, strict);
        _scopes.Push(variables);
    }

    /// <summary>Renders.</summary>
    /// <param name="name">What messages call the template.</param>
    /// <param name="nodes">The template.</param>
    /// <param name="variables">What it is given.</param>
    /// <param name="strict">Whether printing what is not defined is a problem.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OpenElmException">The template refuses what it is given, or goes wrong.</exception>
    public static string Render(string name, ImmutableArray<TemplateNode> nodes, Dictionary<string, object?> variables, bool strict)
    {
        var renderer = new TemplateRenderer(name, variables, strict);
        renderer.Run(nodes);
        return renderer._text.ToString();
    }

    /// <summary>Evaluates the expression of an output.</summary>
    /// <param name="name">What messages call the template.</param>
    /// <param name="output">The output.</param>
    /// <param name="variables">What it is given.</param>
    /// <returns>Its value; <see cref="Undefined"/> is a problem.</returns>
    /// <exception cref="OpenElmException">It goes wrong.</exception>
    public static object? Evaluate(string name, TemplateNode.Output output, Dictionary<string, object?> variables)
    {
        var renderer = new TemplateRenderer(name, variables, strict: true);
        try
        {
            return renderer.Value(output.Value) is var value && value is Undefined missing ? throw missing.Problem() : value;
        }
        catch (TemplateProblem problem)
        {
            throw renderer.WentWrong(output.Line, problem);
        }
    }

    OpenElmException WentWrong(int line, TemplateProblem problem) => new($"{_name} went wrong in line {line}: {problem.Message}.", problem);

    void Run(ImmutableArray<TemplateNode> nodes)
    {
        foreach (TemplateNode node in nodes)
        {
            if (_leaving)
            {
                return;
            }

            try
            {
                Run(node);
            }
            catch (TemplateProblem problem)
            {
                throw WentWrong(node.Line, problem);
            }
        }
    }

    void Run(TemplateNode node)
    {
        Step();
        switch (node)
        {
            case TemplateNode.Text text:
                Append(text.Value);
                break;
            case TemplateNode.Output output:
                object? value = Value(output.Value);
                Append(_strict && value is Undefined missing ? throw missing.Problem() : TemplateValue.Print(value));
                break;
            case TemplateNode.Set { Attribute: null } set:
                _scopes.Peek()[set.Name] = Value(set.Value);
                break;
            case TemplateNode.Set set:
                if (Variable(set.Name) is not Dictionary<string, object?> space)
                {
                    throw new TemplateProblem($"{set.Name} is no namespace");
                }

                space[set.Attribute!] = Value(set.Value);
                break;
            case TemplateNode.If branches:
                foreach ((Expression? condition, ImmutableArray<TemplateNode> body) in branches.Branches)
                {
                    if (condition is null || TemplateValue.IsTrue(Value(condition)))
                    {
                        Run(body);
                        break;
                    }
                }

                break;
            case TemplateNode.For loop:
                Loop(loop);
                break;
            case TemplateNode.Leave leave:
                (_leaving, _breaking) = (true, leave.IsBreak);
                break;
            default:
                throw new InvalidOperationException($"There is no node {node}.");
        }
    }

    // Variables that the body sets are gone after each round, as in Jinja.
    void Loop(TemplateNode.For loop)
    {
        List<object?> items = [.. TemplateValue.Items(Value(loop.Items))];
        Step(items.Count);
        if (loop.Condition is { } condition)
        {
            items = [.. items.Where(item => InScope(loop.Names, item, () => TemplateValue.IsTrue(Value(condition))))];
        }

        for (int i = 0; i < items.Count && !_breaking; i++)
        {
            InScope(loop.Names, items[i], () =>
            {
                _scopes.Peek()["loop"] = new Dictionary<string, object?>
                {
                    ["index"] = i + 1L,
                    ["index0"] = (long)i,
                    ["revindex"] = (long)(items.Count - i),
                    ["revindex0"] = items.Count - i - 1L,
                    ["first"] = i == 0,
                    ["last"] = i == items.Count - 1,
                    ["length"] = (long)items.Count,
                    ["previtem"] = i > 0 ? items[i - 1] : new Undefined("loop.previtem"),
                    ["nextitem"] = i + 1 < items.Count ? items[i + 1] : new Undefined("loop.nextitem"),
                };
                Run(loop.Body);
                _leaving = false;
                return true;
            });
        }

        _breaking = false;
    }

    T InScope<T>(ImmutableArray<string> names, object? item, Func<T> run)
    {
        var scope = new Dictionary<string, object?>();
        if (names is [var single])
        {
            scope[single] = item;
        }
        else
        {
            List<object?> parts = TemplateValue.Items(item);
            if (parts.Count != names.Length)
            {
                throw new TemplateProblem($"a loop takes {names.Length} values at a time and finds {parts.Count}");
            }

            for (int i = 0; i < parts.Count; i++)
            {
                scope[names[i]] = parts[i];
            }
        }

        _scopes.Push(scope);
        T result = run();
        _scopes.Pop();
        return result;
    }

    object? Value(Expression expression)
    {
        Step();
        return expression switch
        {
            Expression.Constant constant => constant.Value,
            Expression.Variable variable => Variable(variable.Name),
            Expression.ListOf list => list.Items.Select(Value).ToList(),
            Expression.MapOf map => map.Entries.ToDictionary(entry => TemplateValue.Print(Value(entry.Key)), entry => Value(entry.Value)),
            Expression.Unary unary => Unary(unary.Operator, Value(unary.Operand)),
            Expression.Binary { Operator: "and" } both => Value(both.Left) is var left && TemplateValue.IsTrue(left) ? Value(both.Right) : left,
            Expression.Binary { Operator: "or" } either => Value(either.Left) is var left && TemplateValue.IsTrue(left) ? left : Value(either.Right),
            Expression.Binary binary => Binary(binary.Operator, Value(binary.Left), Value(binary.Right)),
            Expression.Choice choice => TemplateValue.IsTrue(Value(choice.Condition)) ? Value(choice.Then) : choice.Otherwise is { } otherwise ? Value(otherwise) : new Undefined("the value of an if without else"),
            Expression.Member member => TemplateValue.Member(Value(member.Owner), Value(member.Key)),
            Expression.Slice slice => TemplateValue.Slice(Value(slice.Owner), slice.From is null ? null : Value(slice.From), slice.To is null ? null : Value(slice.To)),
            Expression.Apply apply => TemplateFunctions.Apply(apply.Function, apply.IsFilter, Value(apply.Operand), [.. apply.Arguments.Select(Value)]),
            Expression.Test test => TemplateFunctions.Holds(test.Name, Value(test.Operand)) != test.Negated,
            Expression.Call call => Call(call),
            _ => throw new InvalidOperationException($"There is no expression {expression}."),
        };
    }

    object? Variable(string name)
    {
        foreach (Dictionary<string, object?> scope in _scopes)
        {
            if (scope.TryGetValue(name, out object? value))
            {
                return value;
            }
        }

        return new Undefined(name);
    }

    object? Call(Expression.Call call)
    {
        object?[] arguments = [.. call.Arguments.Select(Value)];
        switch (call.Function)
        {
            case "raise_exception":
                throw new OpenElmException($"{_name} refuses this conversation: {(arguments is [var reason, ..] ? TemplateValue.Print(reason) : "without a reason")}");
            case "namespace":
                return call.Named.ToDictionary(entry => entry.Name, entry => Value(entry.Value));
            default:
                (long from, long to) = arguments switch
                {
                    [long end] => (0, end),
                    [long start, long end] => (start, end),
                    _ => throw new TemplateProblem("range takes one or two numbers"),
                };
                return to - from > LongestRange ? throw new TemplateProblem($"a range has more than {LongestRange} items")
                    : Enumerable.Range(0, (int)Math.Max(0, to - from)).Select(i => (object?)(from + i)).ToList();
        }
    }

    static object? Unary(string sign, object? value) => (sign, value) switch
    {
        ("not", _) => !TemplateValue.IsTrue(value),
        ("-", long number) => -number,
        ("-", double number) => -number,
        ("+", long or double) => value,
        _ => throw new TemplateProblem($"'{sign}' does not fit {TemplateValue.NameOf(value)}"),
    };

    static object? Binary(string sign, object? left, object? right)
    {
        switch (sign)
        {
            case "==":
                return TemplateValue.AreEqual(left, right);
            case "!=":
                return !TemplateValue.AreEqual(left, right);
            case "<" or ">" or "<=" or ">=":
                int order = TemplateValue.Compare(left, right);
                return sign switch { "<" => order < 0, ">" => order > 0, "<=" => order <= 0, _ => order >= 0 };
            case "in" or "not in":
                return Contains(right, left) == (sign == "in");
            case "~":
                return Limited(TemplateValue.Print(left) + TemplateValue.Print(right));
            case "+" when left is string a && right is string b:
                return Limited(a + b);
            case "+" when left is List<object?> a && right is List<object?> b:
                return a.Concat(b).ToList();
            default:
                return Arithmetic(sign, left, right);
        }
    }

    static bool Contains(object? whole, object? part) => whole switch
    {
        string text when part is string inner => text.Contains(inner, StringComparison.Ordinal),
        Dictionary<string, object?> map => part is string key && map.ContainsKey(key),
        List<object?> list => list.Any(item => TemplateValue.AreEqual(item, part)),
        Undefined missing => throw missing.Problem(),
        _ => throw new TemplateProblem($"{TemplateValue.NameOf(whole)} contains nothing"),
    };

    static object Arithmetic(string sign, object? left, object? right) => (sign, left, right) switch
    {
        ("+", long a, long b) => (object)(a + b),
        ("-", long a, long b) => a - b,
        ("*", long a, long b) => a * b,
        ("//" or "%", long, 0L) or ("/", long or double, 0L or 0.0) => throw new TemplateProblem("a division by zero"),
        ("//", long a, long b) => (long)Math.Floor((double)a / b),
        ("%", long a, long b) => ((a % b) + b) % b,
        ("/", long a, long b) => (double)a / b,
        ("+", double or long, double or long) => Convert.ToDouble(left) + Convert.ToDouble(right),
        ("-", double or long, double or long) => Convert.ToDouble(left) - Convert.ToDouble(right),
        ("*", double or long, double or long) => Convert.ToDouble(left) * Convert.ToDouble(right),
        ("/", double or long, double or long) => Convert.ToDouble(left) / Convert.ToDouble(right),
        (_, Undefined missing, _) => throw missing.Problem(),
        (_, _, Undefined missing) => throw missing.Problem(),
        _ => throw new TemplateProblem($"'{sign}' does not fit {TemplateValue.NameOf(left)} and {TemplateValue.NameOf(right)}"),
    };

    void Append(string text)
    {
        _text.Append(text);
        if (_text.Length > LongestText)
        {
            throw new TemplateProblem($"its text is longer than {LongestText} characters");
        }
    }

    static string Limited(string text) => text.Length <= LongestText ? text : throw new TemplateProblem($"a text is longer than {LongestText} characters");

    void Step(int count = 1)
    {
        _steps += count;
        if (_steps > MostSteps)
        {
            throw new TemplateProblem($"it takes more than {MostSteps} steps");
        }
    }
}
