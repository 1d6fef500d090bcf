using System.Text.Json;

namespace OpenElm.Cli.Tests;

public sealed class ChatCommandTests
{
    static readonly string Stories = Path.Combine(RepositoryFiles.Root, "samples", "stories260k");

    [Fact]
    public void Lines_are_answered_until_the_input_ends()
    {
        (int code, string output, string error) = Chat("Hello\n\n   \nAgain\n", "-n", "8");
        Assert.Equal(0, code);
        Assert.Equal(2, output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains("template: zephyr; context: 512 tokens", error);
        Assert.DoesNotContain("> ", error); // nobody types
    }

    [Fact]
    public void Reset_forgets_and_the_same_question_has_the_same_answer()
    {
        (_, string output, string error) = Chat("Hello\nHello\n/reset\nHello\n/stats\n/quit\nnever\n", "-n", "8");
        string[] answers = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, answers.Length);
        Assert.Equal(answers[0], answers[2]);
        Assert.NotEqual(answers[0], answers[1]);
        Assert.Matches(@"3 turns: \d+ tokens in prompts, [1-9]\d* of them known from before; \d+ tokens generated", error);
    }

    [Fact]
    public void Instructions_can_be_set_and_removed()
    {
        (_, string json, string error) = Chat("/system Be brief.\nHello\n/system\nHello\n/dance\n/help\n/stats", "-n", "4", "--system", "Be long.", "--json");
        Assert.Contains("instructions: Be brief.", error);
        Assert.Contains("no instructions", error);
        Assert.Contains("no command /dance", error);
        Assert.Contains("/reset", error);
        JsonElement document = JsonDocument.Parse(json).RootElement;
        Assert.Equal(["user", "assistant", "user", "assistant"], document.GetProperty("messages").EnumerateArray().Select(message => message.GetProperty("role").GetString()));
        Assert.Equal(2, document.GetProperty("turns").GetArrayLength());
    }

    [Fact]
    public void A_full_context_is_said_and_the_chat_goes_on()
    {
        string input = string.Concat(Enumerable.Range(0, 6).Select(i => $"Question {i}\n")) + new string('x', 900) + "\nHello\n";
        (int code, string output, string error) = Chat(input, "-n", "8", "--max-length", "110");
        Assert.Equal(0, code);
        Assert.Equal(7, output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains("the context of 110 tokens is full", error);
        Assert.Contains("The message is too long", error);
    }

    [Fact]
    public void Interrupting_stops_the_answer_only()
    {
        var interrupts = new Interrupts();
        using var output = new WatchedWriter();
        output.Written = count => Assert.Equal(count == 2, count == 2 && interrupts.TryInterrupt());
        (int code, string error) = Run(output, interrupts, "Hello\nAgain\n", default, "-n", "200", "--ignore-eos");
        Assert.Equal(0, code);
        Assert.Single(error.Split("stopped").Skip(1));
        Assert.True(output.ToString().Length > 100); // the second answer is whole
        Assert.False(interrupts.TryInterrupt()); // nothing is at work
    }

    [Fact]
    public void Interrupting_twice_ends_the_program()
    {
        var interrupts = new Interrupts();
        using var program = new CancellationTokenSource();
        using var output = new WatchedWriter();
        output.Written = count =>
        {
            if (!interrupts.TryInterrupt())
            {
                program.Cancel(); // as StopSignals does
            }
        };
        (int code, string error) = Run(output, interrupts, "Hello\nAgain\n", program.Token, "-n", "200", "--ignore-eos");
        Assert.Equal(130, code);
        Assert.Contains("openelm: stopped.", error);
    }

    [Fact]
    public void Ctrl_c_at_the_prompt_ends_the_program()
    {
        using var program = new CancellationTokenSource();
        using StringWriter output = new(), error = new();
        var context = new ConsoleContext(output, error, TimeProvider.System, program.Token) { Input = new SilentReader(), IsInputTerminal = true };
        program.CancelAfter(300);
        Assert.Equal(130, Program.Run(["chat", Stories], context));
        Assert.EndsWith("openelm: stopped." + Environment.NewLine, error.ToString());
        Assert.Contains("> ", error.ToString());
    }

    [Theory]
    [InlineData("line 1: {% macro %} is not supported", "{% macro x() %}")]
    [InlineData("refuses this conversation: no", "{{ raise_exception('no') }}")]
    public void A_template_that_cannot_be_used_is_named(string message, string template)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["t.jinja"], template);
        Assert.Contains(message, Chat("Hello\n", "--chat-template", folder["t.jinja"]).Error);
    }

    [Fact]
    public void The_template_of_the_model_folder_is_used()
    {
        using var folder = new TemporaryFolder();
        foreach (string file in new[] { "config.json", "model.safetensors", "tokenizer.model" })
        {
            File.Copy(Path.Combine(Stories, file), folder[file]);
        }

        File.WriteAllText(folder["tokenizer_config.json"], """{"chat_template": "{{ messages[-1].content }}"}""");
        string prompt = "Once upon a time";
        using StringWriter output = new(), error = new();
        Assert.Equal(0, Program.Run(["chat", folder.Path, "-n", "10"], new ConsoleContext(output, error, TimeProvider.System, default) { Input = new StringReader(prompt) }));
        Assert.Equal(Openelm.Run("generate", Stories, "--prompt", prompt, "-n", "10", "--no-echo").Output, output.ToString());
        Assert.Contains("tokenizer_config.json", error.ToString());
    }

    static (int Code, string Output, string Error) Chat(string input, params string[] arguments)
    {
        using var output = new StringWriter();
        (int code, string error) = Run(output, new Interrupts(), input, default, arguments);
        return (code, output.ToString().ReplaceLineEndings("\n"), error);
    }

    static (int Code, string Error) Run(TextWriter output, Interrupts interrupts, string input, CancellationToken cancellation, params string[] arguments)
    {
        using var error = new StringWriter();
        var context = new ConsoleContext(output, error, TimeProvider.System, cancellation) { Input = new StringReader(input), Interrupts = interrupts };
        int code = Program.Run(["chat", Stories, .. arguments], context);
        return (code, error.ToString());
    }

    sealed class WatchedWriter : StringWriter
    {
        int _count;

        public Action<int> Written { get; set; } = _ => { };

        public override void Write(string? value)
        {
            base.Write(value);
            Written(++_count);
        }
    }

    // Nobody types.
    sealed class SilentReader : TextReader
    {
        public override string? ReadLine()
        {
            Thread.Sleep(5000);
            return null;
        }
    }
}
