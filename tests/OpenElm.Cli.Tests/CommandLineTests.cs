using System.CommandLine;
using System.Text.Json;

namespace OpenElm.Cli.Tests;

/// <summary>The rules that every verb shares.</summary>
public sealed class CommandLineTests
{
    [Fact]
    public void Version_goes_to_standard_output()
    {
        (int code, string output, string error) = Openelm.Run("--version");
        Assert.Equal((0, ""), (code, error));
        Assert.StartsWith("openelm 0.", output);
    }

    [Fact]
    public void No_arguments_print_the_help()
    {
        (int code, string output, _) = Openelm.Run();
        Assert.Equal(0, code);
        Assert.Contains("completion", output);
    }

    [Fact]
    public void An_unknown_verb_is_the_users_to_fix()
    {
        (int code, string output, string error) = Openelm.Run("pretain");
        Assert.Equal((2, ""), (code, output));
        Assert.Contains("pretain", error);
        Assert.Contains("Try 'openelm --help'", error);
    }

    [Fact]
    public void A_wrong_argument_names_the_verbs_own_help()
    {
        (int code, _, string error) = Openelm.Run("completion", "tcsh");
        Assert.Equal(2, code);
        Assert.Contains("tcsh", error);
        Assert.Contains("Try 'openelm completion --help'", error);
    }

    [Fact]
    public void Help_of_every_verb_ends_with_examples()
    {
        var context = new ConsoleContext(TextWriter.Null, TextWriter.Null, TimeProvider.System, default);
        foreach (string[] path in Program.CreateRoot(context).Subcommands.SelectMany(verb => Paths(verb, [])))
        {
            (int code, string output, _) = Openelm.Run([.. path, "--help"]);
            Assert.Equal(0, code);
            Assert.True(output.Contains("Examples:") && output.Contains("  openelm " + path[0]), $"'{string.Join(' ', path)}' has no examples");
        }

        static IEnumerable<string[]> Paths(Command command, string[] before)
        {
            string[] path = [.. before, command.Name];
            return command.Subcommands.Count == 0 ? [path] : command.Subcommands.SelectMany(c => Paths(c, path));
        }
    }

    [Fact]
    public void What_the_user_can_fix_is_one_message_and_code_2()
    {
        (int code, string output, string error) = Invoke(_ => throw new OpenElmException("no.json does not exist; name a file."));
        Assert.Equal((2, "", "openelm: no.json does not exist; name a file.\n"), (code, output, error.ReplaceLineEndings("\n")));
    }

    [Fact]
    public void Any_other_exception_is_our_bug_and_keeps_its_stack()
    {
        (int code, string output, string error) = Invoke(_ => throw new InvalidOperationException("index is stale"));
        Assert.Equal((1, ""), (code, output));
        Assert.Contains("index is stale", error);
        Assert.Contains("   at ", error);
        Assert.Contains("this is a bug in openelm", error);
    }

    [Theory]
    [InlineData("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 216000000 bytes. Error code 12 (Cannot allocate memory)\nframe #0", "216,000,000 bytes more could not be had")]
    [InlineData("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB", "2.00 GiB more could not be had on the GPU")]
    [InlineData("CUDA: cuMemAlloc failed: out of memory", "more could not be had on the GPU")]
    public void Memory_that_is_not_there_is_no_bug(string words, string expected)
    {
        // As it comes, and as the cause of another failure.
        foreach (Exception problem in new[] { new InvalidOperationException(words), new InvalidOperationException("an update", new InvalidDataException(words)) })
        {
            (int code, string output, string error) = Invoke(_ => throw problem);
            Assert.Equal((2, "", $"openelm: out of memory: {expected}; give it a smaller model, batch or length, or more memory.\n"), (code, output, error.ReplaceLineEndings("\n")));
        }
    }

    [Fact]
    public void The_runtimes_own_memory_is_told_alike() => Assert.StartsWith("openelm: out of memory: the .NET runtime could not have more; ", Invoke(_ => throw new InsufficientMemoryException()).Error);

    [Fact]
    public void Cancellation_by_the_user_is_130_with_one_line()
    {
        using var stop = new CancellationTokenSource();
        (int code, string output, string error) = Invoke(
            context =>
            {
                stop.Cancel();
                context.Cancellation.ThrowIfCancellationRequested();
            },
            stop.Token);
        Assert.Equal((130, "", "openelm: stopped."), (code, output, error.Trim()));
    }

    [Fact]
    public void Cancellation_that_nobody_asked_for_is_our_bug() =>
        Assert.Equal(1, Invoke(_ => throw new OperationCanceledException()).Code);

    [Fact]
    public void A_verbs_own_exit_code_is_kept() => Assert.Equal(7, Invoke((_, _) => 7, default).Code);

    [Fact]
    public void Json_is_one_document_with_snake_case_keys()
    {
        (int code, string output, _) = Invoke(context => context.WriteJson(new { KvHeads = context.IsJson ? 3 : 0, Ratio = double.NaN }));
        Assert.Equal(0, code);
        JsonElement document = JsonDocument.Parse(output).RootElement;
        Assert.Equal(3, document.GetProperty("kv_heads").GetInt32());
        Assert.Equal("NaN", document.GetProperty("ratio").GetString());
    }

    [Fact]
    public void Logs_are_plain_lines_with_the_time_when_nobody_watches()
    {
        (_, string output, string error) = Invoke(context =>
        {
            context.Log("step [1/2] done");
            context.Warn("long line " + new string('x', 200));
        });
        Assert.Equal("", output);
        Assert.Matches("^[0-9]{2}:[0-9]{2}:[0-9]{2} step \\[1/2\\] done\r?\n[0-9:]{8} warning: long line x{200}\r?\n$", error);
    }

    [Fact]
    public void Arguments_may_begin_with_an_at_sign()
    {
        string? seen = null;
        var prompt = new Option<string>("--prompt");
        Invoke((_, parsed) => { seen = parsed.GetValue(prompt); return 0; }, default, prompt, "--prompt", "@home");
        Assert.Equal("@home", seen);
    }

    static (int Code, string Output, string Error) Invoke(Action<CommandContext> action, CancellationToken cancellation = default) =>
        Invoke((context, _) => { action(context); return 0; }, cancellation);

    static (int Code, string Output, string Error) Invoke(
        Func<CommandContext, ParseResult, int> action, CancellationToken cancellation, Option? option = null, params string[] args)
    {
        using StringWriter output = new(), error = new();
        var context = new ConsoleContext(output, error, TimeProvider.System, cancellation);
        RootCommand root = Program.CreateRoot(context);
        var probe = new Command("probe");
        if (option is not null)
        {
            probe.Options.Add(option);
        }

        probe.SetAction(parsed => action(context, parsed));
        root.Subcommands.Add(probe);
        return (Program.CommandLine.Invoke(["probe", "--json", .. args], context, root), output.ToString(), error.ToString());
    }
}
