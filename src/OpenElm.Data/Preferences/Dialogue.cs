using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;

namespace OpenElm.Data.Preferences;

/// <summary>A dialogue in one text, as in hh-rlhf: <c>\n\nHuman: …\n\nAssistant: …</c>.</summary>
/// <param name="Prompt">The text before the last response.</param>
/// <param name="Messages">All messages; the last is the assistant's. Blanks and line breaks around them are dropped.</param>
internal sealed record Dialogue(string Prompt, ImmutableArray<ChatMessage> Messages)
{
    const string Human = "\n\nHuman:", Assistant = "\n\nAssistant:";

    /// <summary>Whether a text begins as a dialogue.</summary>
    public static bool Begins(string text) => text.StartsWith(Human, StringComparison.Ordinal);

    /// <summary>Reads a dialogue.</summary>
    /// <param name="row">The row.</param>
    /// <param name="column">Where it stands.</param>
    /// <exception cref="OpenElmException">It is none.</exception>
    public static Dialogue Of(DataRow row, string column)
    {
        string text = row.Take<string>(column);
        int response = text.LastIndexOf(Assistant, StringComparison.Ordinal);
        if (!Begins(text) || response < text.LastIndexOf(Human, StringComparison.Ordinal))
        {
            throw row.Wrong($"holds no dialogue in '{column}': it must begin with an empty line and 'Human:', and end with what follows an empty line and 'Assistant:'.");
        }

        var messages = ImmutableArray.CreateBuilder<ChatMessage>();
        for (int at = 0; at < text.Length;)
        {
            (string role, string mark) = text.AsSpan(at).StartsWith(Human, StringComparison.Ordinal) ? (ChatMessage.User, Human) : (ChatMessage.Assistant, Assistant);
            int start = at + mark.Length;
            at = new[] { text.IndexOf(Human, start, StringComparison.Ordinal), text.IndexOf(Assistant, start, StringComparison.Ordinal), text.Length }.Where(next => next >= 0).Min();
            messages.Add(new ChatMessage(role, text[start..at].Trim()));
        }

        return new(text[..response], messages.ToImmutable());
    }
}
