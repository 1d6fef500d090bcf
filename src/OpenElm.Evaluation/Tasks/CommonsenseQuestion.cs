using System.Collections.Immutable;
using System.Text.RegularExpressions;
using OpenElm.Data;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>The commonsense set of LLM-Adapters: an instruction whose last line says what answers there are.</summary>
public static partial class CommonsenseQuestion
{
    /// <summary>The prompt that fine-tuning and evaluation share, without input and with an empty output.</summary>
    /// <param name="instruction">The question.</param>
    /// <returns>It ends in the blanks before the answer.</returns>
    public static string Prompt(string instruction) => new InstructionRecord(instruction, Input: "", Output: "").Prompt;

    /// <summary>The answers that the last line of an instruction allows.</summary>
    /// <param name="instruction">The question.</param>
    /// <returns><c>true, false</c> or <c>answer1, answer2, …</c>; none if it says nothing.</returns>
    public static ImmutableArray<string> Candidates(string instruction)
    {
        string last = instruction[(instruction.LastIndexOf('\n') + 1)..];
        if (TrueOrFalse().IsMatch(last))
        {
            return ["true", "false"];
        }

        Match match = Numbered().Match(last);
        return match.Success
            ? [.. Enumerable.Range(1, match.Groups["count"].Value[0] - '0').Select(i => match.Groups["word"].Value + i)]
            : [];
    }

    /// <summary>The answer in a text that a model wrote (generation mode).</summary>
    /// <param name="instruction">The question.</param>
    /// <param name="text">What the model wrote; with the prompt, only what follows <c>### Response:</c> counts.</param>
    /// <returns>The first allowed answer in it; null if there is none, which counts as wrong.</returns>
    public static string? Answer(string instruction, string text)
    {
        const string Marker = "### Response:";
        int at = text.IndexOf(Marker, StringComparison.Ordinal);
        string response = at < 0 ? text : text[(at + Marker.Length)..];
        // All answers of the kind, also ones that this question does not offer: they are found first, and are wrong.
        string kind = Candidates(instruction) switch
        {
            ["true", ..] => "true|false",
            [var first, ..] when first.StartsWith("answer", StringComparison.Ordinal) => "answer[1-5]",
            [var first, ..] when first.StartsWith("ending", StringComparison.Ordinal) => "ending[1-4]",
            [var first, ..] when first.StartsWith("option", StringComparison.Ordinal) => "option[12]",
            [var first, ..] when first.StartsWith("solution", StringComparison.Ordinal) => "solution[12]",
            _ => throw new OpenElmException("The instruction's last line names no answer format."),
        };
        return Regex.Match(response, kind) is { Success: true, Value: var answer } ? answer : null;
    }

    internal static DataRow WithCandidates(DataRow row)
    {
        string instruction = row.Take<string>("instruction");
        ImmutableArray<string> candidates = Candidates(instruction);
        return candidates is []
            ? throw row.Wrong("has an instruction whose last line names no answer format, such as 'Answer format: answer1/answer2'.")
            : row with { Values = new(row.Values) { ["context"] = Prompt(instruction), ["candidates"] = candidates.Select(candidate => (object?)InstructionRecord.OutputOf(candidate)).ToList() } };
    }

    [GeneratedRegex("Answer format: true/false")]
    private static partial Regex TrueOrFalse();

    [GeneratedRegex("Answer format: .*(?<word>answer|ending|option|solution)(?<count>[1-9])$")]
    private static partial Regex Numbered();
}
