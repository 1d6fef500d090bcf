using System.CommandLine;
using OpenElm.Chat;
using OpenElm.Inference;
using OpenElm.Inference.Chat;
using OpenElm.Inference.Generation;

namespace OpenElm.Commands;

/// <summary>Talks with a model: lines from standard input, answers to standard output as they come.</summary>
internal static class ChatCommand
{
    public static Command Create(CommandContext context)
    {
        var inference = new InferenceArguments();
        var generation = new GenerationArguments();
        var system = new Option<string?>("--system") { Description = "Instructions that stand before the conversation" };
        var template = new Option<string?>("--chat-template") { Description = "'zephyr', or a file with a Jinja template (default: the adapter's or model folder's own, then zephyr)" };
        var command = new Command("chat", "Talk with a model; /help lists what can be typed") { system, template };
        generation.AddTo(command);
        inference.AddTo(command);
        command.SetAction(parsed =>
        {
            GenerationOptions options = generation.Read(parsed);
            ChatTemplate how = Template(parsed.GetValue(template), [.. inference.Adapters(parsed).Select(adapter => adapter.Path), inference.ModelPath(parsed)]);
            using TextModel model = inference.Open(parsed, context);
            using TextModel? draft = generation.OpenDraft(parsed, context, inference);
            using var chat = new ChatSession(model, how, options, inference.MaxLength(parsed), draft, context.Time) { System = parsed.GetValue(system) };
            new Conversation(context, chat).Run();
        });
        return command.WithExamples(
            "openelm chat MODEL",
            "openelm chat MODEL --adapter ADAPTER",
            "openelm chat MODEL --system \"Answer in one sentence.\" --temperature 0.7 --top-p 0.9",
            "echo \"What is the sea?\" | openelm chat MODEL --max-tokens 60",
            "openelm chat MODEL --chat-template zephyr --draft SMALLER_MODEL");
    }

    static ChatTemplate Template(string? name, IEnumerable<string> folders) => name switch
    {
        null => folders.Select(ChatTemplate.OfFolder).FirstOrDefault(found => found is not null) ?? ChatTemplate.Zephyr,
        "zephyr" => ChatTemplate.Zephyr,
        _ => ChatTemplate.Parse(CommandContext.ReadText(name), name),
    };
}
