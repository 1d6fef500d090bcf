using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Templates;
using OpenElm.Tokenization;

namespace OpenElm.Chat;

/// <summary>
/// How a conversation becomes one text: a template in the part of Jinja that chat templates use (docs/generation.md), with
/// the settings of transformers. Immutable.
/// </summary>
public sealed class ChatTemplate
{
    const string TemplateFile = "chat_template.jinja";

    // Marks of an ended message that some vocabularies have no special token for.
    static readonly string[] KnownEnds = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

    readonly Template _template;

    ChatTemplate(string name, string source, ImmutableArray<string> stop) => (Name, Stop, _template) = (name, stop, Template.Parse(source, "The chat template"));

    /// <summary>
    /// The template that OpenELM's instruction tuning used: a block with role, content and EOS for each message. It always has
    /// a system message, if need be an empty one.
    /// </summary>
    public static ChatTemplate Zephyr { get; } = new(
        "zephyr",
        "{% if not messages or messages[0].role != 'system' %}{{ '<|system|>\\n' + eos_token + '\\n' }}{% endif %}"
            + "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        ["<|system|>", "<|user|>", "<|assistant|>"]);

    /// <summary>Where it comes from.</summary>
    public string Name { get; }

    /// <summary>The template itself.</summary>
    public string Source => _template.Source;

    /// <summary>Texts that end an answer, besides the token that ends a sequence.</summary>
    public ImmutableArray<string> Stop { get; }

    /// <summary>Reads a template.</summary>
    /// <param name="source">The template.</param>
    /// <param name="name">Where it comes from, for messages.</param>
    /// <returns>The template.</returns>
    /// <exception cref="OpenElmException">It is wrong, or uses what is not supported; the message says what and where.</exception>
    public static ChatTemplate Parse(string source, string name)
    {
        ArgumentNullException.ThrowIfNull(source);
        // The built-in template ends answers in the same way when it comes out of a model folder.
        return new ChatTemplate(name, source, source == Zephyr.Source ? Zephyr.Stop : [.. KnownEnds.Where(end => source.Contains(end, StringComparison.Ordinal))]);
    }

    /// <summary>Reads the template of a model folder: <c>chat_template.jinja</c>, or <c>chat_template</c> of <c>tokenizer_config.json</c>.</summary>
    /// <param name="folder">The folder.</param>
    /// <returns>The template; null if the folder has none, or is none.</returns>
    /// <exception cref="OpenElmException">It is damaged, wrong, or uses what is not supported.</exception>
    public static ChatTemplate? OfFolder(string folder)
    {
        string config = Path.Combine(folder, ModelFolder.TokenizerConfigFile), file = Path.Combine(folder, TemplateFile);
        try
        {
            if (File.Exists(file))
            {
                return Parse(File.ReadAllText(file), file);
            }

            if (!File.Exists(config))
            {
                return null;
            }

            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(config));
            return document.RootElement.TryGetProperty("chat_template", out JsonElement template) ? Parse(Default(template, config), config) : null;
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException or KeyNotFoundException)
        {
            throw new OpenElmException($"Cannot read the chat template of {folder}: {e.Message}", e);
        }
    }

    /// <summary>Writes a conversation as one text.</summary>
    /// <param name="messages">The messages, the oldest first.</param>
    /// <param name="addGenerationPrompt">Whether the assistant speaks next.</param>
    /// <param name="bos">The text of the token that begins a sequence; empty if there is none.</param>
    /// <param name="eos">The text of the token that ends a sequence; empty if there is none.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OpenElmException">The template refuses the conversation, or goes wrong.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, string bos, string eos)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return _template.Render(new Dictionary<string, object?>
        {
            ["messages"] = messages.Select(message => (object?)new Dictionary<string, object?> { ["role"] = message.Role, ["content"] = message.Content }).ToList(),
            ["add_generation_prompt"] = addGenerationPrompt,
            ["bos_token"] = bos,
            ["eos_token"] = eos,
        });
    }

    /// <summary>Writes a conversation as one text, with the beginning and end of a sequence as a tokenizer spells them.</summary>
    /// <param name="messages">The messages, the oldest first.</param>
    /// <param name="addGenerationPrompt">Whether the assistant speaks next.</param>
    /// <param name="tokenizer">The tokenizer that the text is for.</param>
    /// <returns>The text.</returns>
    /// <exception cref="OpenElmException">The template refuses the conversation, or goes wrong.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, SentencePieceTokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        string Text(int id) => id < 0 ? "" : tokenizer.PieceOf(id);
        return Render(messages, addGenerationPrompt, Text(tokenizer.BosId), Text(tokenizer.EosId));
    }

    // Several templates have names; the one for conversations is called default.
    static string Default(JsonElement template, string file)
    {
        if (template.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement named in template.EnumerateArray())
            {
                if (named.GetProperty("name").GetString() == "default")
                {
                    return named.GetProperty("template").GetString()!;
                }
            }

            throw new OpenElmException($"{file} has several chat templates and none is called default.");
        }

        return template.GetString() ?? throw new OpenElmException($"The chat_template of {file} is empty.");
    }
}
