using System.Collections.Immutable;
using System.Globalization;
using System.Text.RegularExpressions;
using OpenElm.Data;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>The commonsense set of LLM-Adapters: an instruction whose last line says what answers there are.</summary>
public static partial class CommonsenseQuestion
{
    const string Indent = "                "; // sixteen blanks: the reference's source code was indented so

    /// <summary>The prompt that fine-tuning and evaluation share, without input and with an empty output.</summary>
    /// <param name="instruction">The question.</param>
    /// <returns>It ends in the blanks before the answer.</returns>
    public static string Prompt(string instruction) => new InstructionRecord(instruction, Input: "", Output: "").Prompt;

    /// <summary>The prompt that LLM-Adapters has the model answer in its own words. It differs from <see cref="Prompt"/> by one blank in the first line and those of the empty line.</summary>
    /// <param name="instruction">The question.</param>
    /// <returns>It ends in the blanks before the answer.</returns>
    public static string GenerationPrompt(string instruction) =>
        "Below is an instruction that describes a task. Write a response that appropriately completes the request. \n\n"
        + $"{Indent}### Instruction:\n{Indent}{instruction}\n\n{Indent}### Response:\n{Indent}";

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

    /// <summary>A regular expression of all answers of a question's kind, also those that this question does not offer: they are found first, and are wrong.</summary>
    /// <param name="instruction">The question.</param>
    /// <returns>The pattern.</returns>
    /// <exception cref="OpenElmException">The last line names no answers.</exception>
    public static string AnswerPattern(string instruction) => Candidates(instruction) switch
    {
        ["true", ..] => "true|false",
        ["answer1", ..] => "answer[1-5]",
        ["ending1", ..] => "ending[1-4]",
        ["option1", ..] => "option[12]",
        ["solution1", ..] => "solution[12]",
        _ => throw new OpenElmException("The instruction's last line names no answer format."),
    };

    internal static DataRow WithCandidates(DataRow row)
    {
        row = row.Values.ContainsKey("endings") ? OfHellaSwag(row) : row;
        string instruction = row.Take<string>("instruction");
        ImmutableArray<string> candidates = Candidates(instruction);
        return candidates is []
            ? throw row.Wrong("has an instruction whose last line names no answer format, such as 'Answer format: answer1/answer2'.")
            : row with
            {
                Values = new(row.Values)
                {
                    ["context"] = Prompt(instruction),
                    ["candidates"] = candidates.Select(candidate => (object?)InstructionRecord.OutputOf(candidate)).ToList(),
                    ["generation_context"] = GenerationPrompt(instruction),
                    ["answer_pattern"] = AnswerPattern(instruction),
                },
            };
    }

    // LLM-Adapters' wording of HellaSwag's own rows. Official ones keep the marks of WikiHow ([title], [step]), as there; cleaned ones have none to keep.
    static DataRow OfHellaSwag(DataRow row)
    {
        string sentence = row.Values.ContainsKey("query") ? row.Take<string>("query") : $"{row.Take<string>("activity_label")}: {row.Take<string>("ctx")}";
        List<object?> endings = row.Take<List<object?>>("endings");
        int[] numbers = [.. Enumerable.Range(1, endings.Count)];
        string instruction = $"Please choose the correct ending to complete the given sentence: {sentence}\n\n"
            + $"{string.Join(' ', numbers.Select(i => $"Ending{i}: {endings[i - 1]}"))}\n\nAnswer format: {string.Join('/', numbers.Select(i => $"ending{i}"))}";
        return int.TryParse(Convert.ToString(row.Values.GetValueOrDefault("label"), CultureInfo.InvariantCulture), CultureInfo.InvariantCulture, out int label) && label >= 0 && label < endings.Count
            ? row with { Values = new() { ["instruction"] = instruction, ["answer"] = $"ending{label + 1}" } }
            : throw row.Wrong($"has no label from 0 to {endings.Count - 1}; rows without an answer cannot be evaluated.");
    }

    [GeneratedRegex("Answer format: true/false")]
    private static partial Regex TrueOrFalse();

    [GeneratedRegex("Answer format: .*(?<word>answer|ending|option|solution)(?<count>[1-9])$")]
    private static partial Regex Numbered();
}
