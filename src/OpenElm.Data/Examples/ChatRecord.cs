using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;

namespace OpenElm.Data;

/// <summary>A conversation to learn from.</summary>
/// <param name="Messages">The messages, the oldest first.</param>
public sealed record ChatRecord(ImmutableArray<ChatMessage> Messages)
{
    /// <summary>Reads the messages of a column.</summary>
    /// <param name="row">The row.</param>
    /// <param name="column">A list of <c>role</c> and <c>content</c>.</param>
    /// <exception cref="OpenElmException">The column is missing or no list of messages, nobody answers, or an answer is empty.</exception>
    internal static ChatRecord Of(DataRow row, string column = "messages")
    {
        ImmutableArray<ChatMessage> messages = MessagesOf(row, column);
        if (!messages.Any(message => message.Role == ChatMessage.Assistant))
        {
            throw row.Wrong($"has no message of the {ChatMessage.Assistant} in '{column}', so there is nothing to learn.");
        }

        return messages.FirstOrDefault(message => message.Role == ChatMessage.Assistant && string.IsNullOrWhiteSpace(message.Content)) is null
            ? new(messages)
            : throw row.Wrong($"has an empty response of the {ChatMessage.Assistant} in '{column}'.");
    }

    /// <summary>Reads the messages of a column, whoever speaks.</summary>
    /// <param name="row">The row.</param>
    /// <param name="column">A list of <c>role</c> and <c>content</c>.</param>
    /// <exception cref="OpenElmException">The column is missing or no list of messages.</exception>
    internal static ImmutableArray<ChatMessage> MessagesOf(DataRow row, string column) =>
        [.. row.Take<List<object?>>(column).Select((message, i) => MessageOf(row, column, message, i + 1))];

    static ChatMessage MessageOf(DataRow row, string column, object? message, int number) =>
        message is Dictionary<string, object?> fields && fields.GetValueOrDefault("role") is string role && fields.GetValueOrDefault("content") is string content
            ? new(role, content)
            : throw row.Wrong($"holds something else than texts 'role' and 'content' in message {number} of '{column}'.");
}
