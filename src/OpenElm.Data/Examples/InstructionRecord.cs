using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;

namespace OpenElm.Data;

/// <summary>A question and its answer, in the layout of Alpaca and LLM-Adapters.</summary>
/// <param name="Instruction">What is asked.</param>
/// <param name="Input">What it is asked about; may be empty.</param>
/// <param name="Output">The answer.</param>
public sealed record InstructionRecord(string Instruction, string Input, string Output)
{
    const string Indent = "                "; // sixteen blanks: the reference's source code was indented so

    /// <summary>The text before the answer (openelm.md 8.3), which training and evaluation share.</summary>
    public string Prompt => Input.Length == 0
        ? "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n"
            + $"{Indent}### Instruction:\n{Indent}{Instruction}\n{Indent}\n{Indent}### Response:\n{Indent}"
        : "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request. \n\n"
            + $"{Indent}### Instruction:\n{Indent}{Instruction}\n{Indent}\n{Indent}### Input:\n{Indent}{Input}\n{Indent}\n{Indent}### Response:\n{Indent}";

    /// <summary>The record as a conversation of two messages; an input follows the instruction after an empty line.</summary>
    public ImmutableArray<ChatMessage> Messages =>
        [new(ChatMessage.User, Input.Length == 0 ? Instruction : $"{Instruction}\n\n{Input}"), new(ChatMessage.Assistant, Output)];

    /// <summary>The output that LLM-Adapters gives an answer.</summary>
    /// <param name="answer">Such as <c>answer1</c>.</param>
    /// <returns>The output.</returns>
    public static string OutputOf(string answer) => "the correct answer is " + answer;

    /// <summary>Reads a record: <c>instruction</c>, perhaps <c>input</c>, and <c>output</c>, for which <c>answer</c> may stand in.</summary>
    /// <param name="row">The row.</param>
    /// <exception cref="OpenElmException">A field is missing or empty, or is no text.</exception>
    internal static InstructionRecord Of(DataRow row) =>
        Of(row, !row.Values.ContainsKey("output") && row.Values.ContainsKey("answer") ? OutputOf(row.TakeFilled("answer")) : row.TakeFilled("output"));

    /// <summary>Reads a record whose answer stands elsewhere: <c>instruction</c>, perhaps <c>input</c>.</summary>
    /// <param name="row">The row.</param>
    /// <param name="output">The answer.</param>
    /// <exception cref="OpenElmException">A field is missing or empty, or is no text.</exception>
    internal static InstructionRecord Of(DataRow row, string output) =>
        new(row.TakeFilled("instruction"), row.Values.TryGetValue("input", out object? input) && input is not null ? row.Take<string>("input") : "", output);
}
