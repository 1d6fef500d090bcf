using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;

namespace OpenElm.Data.Preferences;

/// <summary>A prompt and two responses.</summary>
/// <param name="Prompt">The messages before the responses; at least one.</param>
/// <param name="Chosen">The better response; the last message is the assistant's and not empty.</param>
/// <param name="Rejected">The worse response, likewise.</param>
internal sealed record PreferenceRecord(ImmutableArray<ChatMessage> Prompt, ImmutableArray<ChatMessage> Chosen, ImmutableArray<ChatMessage> Rejected)
{
    const string ChosenColumn = "chosen", RejectedColumn = "rejected", PromptColumn = "prompt", InstructionColumn = "instruction";

    /// <summary>Reads a record.</summary>
    /// <param name="row">The row.</param>
    /// <param name="layout">What it holds.</param>
    /// <exception cref="OpenElmException">A field is missing, empty, or holds something else.</exception>
    public static PreferenceRecord Of(DataRow row, PreferenceLayout layout) => (layout == PreferenceLayout.Auto ? LayoutOf(row) : layout) switch
    {
        PreferenceLayout.Instruction => OfInstruction(row),
        PreferenceLayout.Dialogue => OfDialogues(row),
        _ => OfMessages(row),
    };

    static PreferenceLayout LayoutOf(DataRow row) =>
        row.Values.GetValueOrDefault(PromptColumn) is not null || row.Values.GetValueOrDefault(ChosenColumn) is List<object?> ? PreferenceLayout.Messages
        : row.Values.ContainsKey(InstructionColumn) ? PreferenceLayout.Instruction
        : row.Values.GetValueOrDefault(ChosenColumn) is string text && Dialogue.Begins(text) ? PreferenceLayout.Dialogue
        : throw row.Wrong($"fits no known layout of pairs; its columns are {string.Join(", ", row.Values.Keys)}. Known are messages (prompt, chosen, rejected), instruction (instruction, chosen, rejected) and dialogue (chosen, rejected that begin with Human:); data.layout names one.");

    // alignment-handbook's apply_chat_template (src/alignment/data.py at 70769f9).
    static PreferenceRecord OfMessages(DataRow row)
    {
        if (row.Values.GetValueOrDefault(PromptColumn) is List<object?>)
        {
            return new(ChatRecord.MessagesOf(row, PromptColumn) is [_, ..] prompt ? prompt : throw row.Wrong($"has no message in '{PromptColumn}'."), Response(ChosenColumn), Response(RejectedColumn));
        }

        if (row.Values.GetValueOrDefault(ChosenColumn) is string)
        {
            return new([new(ChatMessage.User, row.TakeFilled(PromptColumn))], [TextOf(ChosenColumn)], [TextOf(RejectedColumn)]);
        }

        (ImmutableArray<ChatMessage> chosen, ImmutableArray<ChatMessage> rejected) = (Conversation(ChosenColumn), Conversation(RejectedColumn));
        return chosen[..^1].SequenceEqual(rejected[..^1])
            ? new(chosen[..^1], chosen[^1..], rejected[^1..])
            : throw row.Wrong($"has different messages before the responses in '{ChosenColumn}' and '{RejectedColumn}'.");

        ImmutableArray<ChatMessage> Conversation(string column) => Answered(row, column, ChatRecord.MessagesOf(row, column)) is [_, _, ..] messages
            ? messages
            : throw row.Wrong($"has a response but no prompt before it in '{column}', and no list of messages in '{PromptColumn}'.");

        ImmutableArray<ChatMessage> Response(string column) =>
            row.Values.GetValueOrDefault(column) is string ? [TextOf(column)]
            : Answered(row, column, ChatRecord.MessagesOf(row, column)) is [{ Role: ChatMessage.Assistant }, ..] messages ? messages
            : throw row.Wrong($"begins '{column}' with another message than the {ChatMessage.Assistant}'s; as '{PromptColumn}' is a list, only the response belongs there.");

        ChatMessage TextOf(string column) => new(ChatMessage.Assistant, row.TakeFilled(column));
    }

    static PreferenceRecord OfInstruction(DataRow row)
    {
        ImmutableArray<ChatMessage> chosen = Messages(ChosenColumn), rejected = Messages(RejectedColumn);
        return new(chosen[..1], chosen[1..], rejected[1..]);

        ImmutableArray<ChatMessage> Messages(string column) => InstructionRecord.Of(row, row.TakeFilled(column)).Messages;
    }

    static PreferenceRecord OfDialogues(DataRow row)
    {
        (Dialogue chosen, Dialogue rejected) = (Dialogue.Of(row, ChosenColumn), Dialogue.Of(row, RejectedColumn));
        return chosen.Prompt == rejected.Prompt
            ? new(chosen.Messages[..^1], Answered(row, ChosenColumn, chosen.Messages)[^1..], Answered(row, RejectedColumn, rejected.Messages)[^1..])
            : throw row.Wrong($"has different dialogues before the last response in '{ChosenColumn}' and '{RejectedColumn}'.");
    }

    static ImmutableArray<ChatMessage> Answered(DataRow row, string column, ImmutableArray<ChatMessage> messages) =>
        messages is not [.., { Role: ChatMessage.Assistant } response] ? throw row.Wrong($"does not end with a message of the {ChatMessage.Assistant} in '{column}'.")
        : string.IsNullOrWhiteSpace(response.Content) ? throw row.Wrong($"has an empty response in '{column}'.")
        : messages;
}
