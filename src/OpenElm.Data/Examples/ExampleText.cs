using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Examples;

/// <summary>A record written as text.</summary>
/// <param name="Text">The whole text.</param>
/// <param name="Responses">What of it are responses, in UTF-16 characters, in order.</param>
internal sealed record ExampleText(string Text, ImmutableArray<(int Start, int End)> Responses)
{
    /// <summary>Writes an instruction by the template of openelm.md 8.3.</summary>
    public static ExampleText Of(InstructionRecord record)
    {
        string prompt = record.Prompt;
        return new(prompt + record.Output, [(prompt.Length, prompt.Length + record.Output.Length)]);
    }

    /// <summary>Writes a conversation by a chat template.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="template">The template.</param>
    /// <param name="tokenizer">Spells BOS and EOS.</param>
    /// <param name="findResponses">Whether responses are asked for; else there is one, the whole text.</param>
    /// <exception cref="OpenElmException">The template refuses the conversation, or does not write one message after the other.</exception>
    public static ExampleText Of(ImmutableArray<ChatMessage> messages, ChatTemplate template, SentencePieceTokenizer tokenizer, bool findResponses)
    {
        string Render(int count, bool assistantNext) => template.Render(messages[..count], assistantNext, tokenizer);

        string text = Render(messages.Length, assistantNext: false);
        if (!findResponses)
        {
            return new(text, [(0, text.Length)]);
        }

        // What the model is given before it answers, and what is there when it has answered.
        var responses = ImmutableArray.CreateBuilder<(int Start, int End)>();
        for (int i = 0; i < messages.Length; i++)
        {
            if (messages[i].Role == ChatMessage.Assistant)
            {
                string before = Render(i, assistantNext: true), after = Render(i + 1, assistantNext: false);
                if (!after.StartsWith(before, StringComparison.Ordinal) || !text.StartsWith(after, StringComparison.Ordinal))
                {
                    throw new OpenElmException($"the chat template {template.Name} does not write one message after the other, so responses cannot be told from the rest; set data.loss_on to everything.");
                }

                responses.Add((before.Length, after.Length));
            }
        }

        return new(text, responses.ToImmutable());
    }

    /// <summary>The same text cleaned up.</summary>
    /// <exception cref="OpenElmException">The clean-up joins a prompt and its response.</exception>
    public ExampleText Cleaned()
    {
        string text = TextCleanup.FixText(Text);
        if (ReferenceEquals(text, Text))
        {
            return this;
        }

        int Moved(int at)
        {
            string before = TextCleanup.FixText(Text[..at]);
            return text.StartsWith(before, StringComparison.Ordinal)
                ? before.Length
                : throw new OpenElmException("the clean-up changes characters across the border of a response; set data.clean_up to false.");
        }

        return new(text, [.. Responses.Select(range => (Moved(range.Start), Moved(range.End)))]);
    }
}
