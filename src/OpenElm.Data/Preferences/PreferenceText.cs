using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Preferences;

/// <summary>A pair written as text. The tag of the answering role belongs to the responses (openelm.md 7.3).</summary>
/// <param name="Prompt">The text before a response.</param>
/// <param name="Chosen">The better response.</param>
/// <param name="Rejected">The worse response.</param>
internal sealed record PreferenceText(string Prompt, string Chosen, string Rejected)
{
    /// <summary>Writes a record by a chat template.</summary>
    /// <param name="record">The record.</param>
    /// <param name="template">The template; where it speaks of a system, prompts without a system message get an empty one.</param>
    /// <param name="tokenizer">Spells BOS and EOS.</param>
    /// <exception cref="OpenElmException">The template refuses the conversation, or does not write one message after the other.</exception>
    public static PreferenceText Of(PreferenceRecord record, ChatTemplate template, SentencePieceTokenizer tokenizer)
    {
        // What counts as speaking of it is alignment-handbook's maybe_insert_system_message (src/alignment/data.py at 70769f9).
        bool takesSystem = template.Source.Contains("system", StringComparison.Ordinal) || template.Source.Contains("<|im_start|>", StringComparison.Ordinal);
        ImmutableArray<ChatMessage> messages = takesSystem && record.Prompt[0].Role != ChatMessage.System
            ? record.Prompt.Insert(0, new ChatMessage(ChatMessage.System, ""))
            : record.Prompt;

        string prompt = Render(messages);
        return new(prompt, ResponseOf(record.Chosen), ResponseOf(record.Rejected));

        string ResponseOf(ImmutableArray<ChatMessage> response) => Render([.. messages, .. response]) is var text && text.StartsWith(prompt, StringComparison.Ordinal)
            ? text[prompt.Length..]
            : throw new OpenElmException($"the chat template {template.Name} does not write one message after the other, so a response cannot be told from its prompt; take another template.");

        string Render(ImmutableArray<ChatMessage> conversation) => template.Render(conversation, addGenerationPrompt: false, tokenizer);
    }
}
