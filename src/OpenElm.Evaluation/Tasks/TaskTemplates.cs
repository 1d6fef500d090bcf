using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using OpenElm.Data.Rows;
using OpenElm.Templates;

namespace OpenElm.Evaluation.Tasks;

/// <summary>What the templates of a task make of a row.</summary>
internal sealed record Document
{
    /// <summary>What stands before examples and question.</summary>
    public string Description { get; init; } = "";

    /// <summary>The requests, without description and examples.</summary>
    public required ImmutableArray<EvaluationRequest> Requests { get; init; }

    /// <summary>The choices, without delimiter; empty where there is nothing to choose.</summary>
    public required ImmutableArray<string> Choices { get; init; }

    /// <summary>The right one, or −1.</summary>
    public int Gold { get; init; } = -1;

    /// <summary>The right answer, where the model writes its own; null elsewhere.</summary>
    public ExpectedAnswer? Expected { get; init; }

    /// <summary>How many at the beginning are true; 0 where that is no question.</summary>
    public int TrueChoices { get; init; }

    /// <summary>Words and bytes of a whole text.</summary>
    public (int Words, int Bytes) Size { get; init; }

    /// <summary>Question and right answer, as an example for others.</summary>
    public string Solved => Requests[Math.Max(Gold, 0)] is var right ? right.Context + right.Continuation : "";
}

/// <summary>The templates of a task, parsed, and how they make requests of a row.</summary>
internal sealed class TaskTemplates
{
    readonly TaskDefinition _task;
    readonly Template _description, _prompt;
    readonly Template? _choices, _continuation, _text, _originalText, _target, _trueChoices, _answerPattern, _answer;

    public TaskTemplates(TaskDefinition task)
    {
        Template Parsed(string source, string key) => Template.Parse(source, $"The template '{key}' of the task {task.Task}");
        _task = task;
        _description = Parsed(task.Description, "description");
        _prompt = Parsed(task.Prompt, "prompt");
        _choices = task.Choices is { } choices ? Parsed(choices, "choices") : null;
        _continuation = task.Continuation is { } continuation ? Parsed(continuation, "continuation") : null;
        _text = task.Text is { } text ? Parsed(text, "text") : null;
        _originalText = task.OriginalText is { } original ? Parsed(original, "original_text") : null;
        _target = task.Target is { } target ? Parsed(target, "target") : null;
        _answerPattern = task.AnswerPattern is { } pattern ? Parsed(pattern, "answer_pattern") : null;
        _answer = task.Answer is { } answer ? Parsed(answer, "answer") : null;
        _trueChoices = task.TrueChoices is { } trueChoices ? Parsed(trueChoices, "true_choices") : null;
    }

    /// <summary>Makes the requests of a row.</summary>
    /// <param name="row">The row, prepared.</param>
    /// <returns>The document.</returns>
    /// <exception cref="OpenElmException">A column is missing or a value does not fit; the message names file and row.</exception>
    public Document Apply(DataRow row)
    {
        var variables = new Dictionary<string, object?>(row.Values);
        if (_task.Variants is [var variant])
        {
            variables["variant"] = variant;
        }

        try
        {
            return _text is not null ? WholeText(_text, variables)
                : _answerPattern is not null ? Written(_answerPattern, _answer!, row, variables)
                : Question(row, variables);
        }
        catch (OpenElmException wrong) when (!wrong.Message.StartsWith(row.File, StringComparison.Ordinal))
        {
            throw row.Wrong($"does not fit: {wrong.Message} Its columns are {string.Join(", ", row.Values.Keys)}.", wrong);
        }
    }

    Document Question(DataRow row, Dictionary<string, object?> variables)
    {
        string prompt = _prompt.Render(variables, strict: true);
        string? continuation = _continuation?.Render(variables, strict: true);
        ImmutableArray<string> choices = _choices is null ? [continuation!] : Choices(_choices.Evaluate(variables), row);
        int gold = _target is null ? -1 : Position(_target.Evaluate(variables), choices.Length, "answer", row);
        if (continuation is not null && string.IsNullOrWhiteSpace(continuation))
        {
            throw row.Wrong("leaves nothing to score: the text behind the context is empty.");
        }

        return new Document
        {
            Description = _description.Render(variables, strict: true),
            Requests = _choices is null || continuation is null
                ? [.. choices.Select(choice => new EvaluationRequest(prompt, _task.Delimiter + choice))]
                : [.. choices.Select(choice => new EvaluationRequest(prompt + choice, _task.Delimiter + continuation))],
            Choices = _choices is null ? [] : choices,
            Gold = gold,
            TrueChoices = _trueChoices is null ? 0 : Position(_trueChoices.Evaluate(variables), choices.Length + 1, "number of true answers", row),
        };
    }

    Document Written(Template pattern, Template answer, DataRow row, Dictionary<string, object?> variables)
    {
        var expected = new ExpectedAnswer(pattern.Render(variables, strict: true), answer.Render(variables, strict: true));
        try
        {
            return expected.Find(expected.Right) == expected.Right
                ? new Document
                {
                    Description = _description.Render(variables, strict: true),
                    Requests = [new EvaluationRequest(_prompt.Render(variables, strict: true), _task.Delimiter + expected.Right)],
                    Choices = [],
                    Expected = expected,
                }
                : throw row.Wrong($"has the answer '{expected.Right}', which the pattern {expected.Pattern} does not find.");
        }
        catch (ArgumentException wrong)
        {
            throw row.Wrong($"gives an answer_pattern that is no regular expression: {wrong.Message}", wrong);
        }
    }

    Document WholeText(Template template, Dictionary<string, object?> variables)
    {
        string text = template.Render(variables, strict: true);
        string original = _originalText?.Render(variables, strict: true) ?? text;
        return new Document
        {
            Requests = [new EvaluationRequest("", text)],
            Choices = [],
            Size = (PythonText.CountParts(original), Encoding.UTF8.GetByteCount(original)),
        };
    }

    static ImmutableArray<string> Choices(object? value, DataRow row)
    {
        if (value is not List<object?> list)
        {
            throw row.Wrong($"has {DataRow.Kind(value)} as its choices, not a list.");
        }

        if (list is [])
        {
            throw row.Wrong("has no choices.");
        }

        return [.. list.Select((choice, i) => choice as string is not { } text ? throw row.Wrong($"has {DataRow.Kind(choice)} as choice {i + 1}, not text.")
            : string.IsNullOrWhiteSpace(text) ? throw row.Wrong($"has nothing in choice {i + 1}.")
            : text)];
    }

    // Data sets write positions as numbers, truth values (BoolQ) or digits (HellaSwag).
    static int Position(object? value, int count, string what, DataRow row)
    {
        long? position = value switch
        {
            long number => number,
            bool flag => flag ? 1 : 0,
            string text when long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) => number,
            _ => null,
        };
        return position is not { } at ? throw row.Wrong($"has {(value is string words ? $"'{words}'" : DataRow.Kind(value))} as its {what}, not a whole number.")
            : at >= 0 && at < count ? (int)at
            : throw row.Wrong($"has the {what} {at}, which must be from 0 to {count - 1}{(at < 0 ? "; rows without an answer cannot be evaluated" : "")}.");
    }
}
