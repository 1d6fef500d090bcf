using OpenElm.Inference.Chat;

namespace OpenElm.Commands;

/// <summary>The loop of <c>openelm chat</c>: messages and commands in, answers out, until the input ends.</summary>
/// <param name="context">Where it reads and writes.</param>
/// <param name="chat">The conversation.</param>
internal sealed class Conversation(CommandContext context, ChatSession chat)
{
    const string Help = """
        /system TEXT   set the instructions; without TEXT remove them
        /reset         forget what was said
        /stats         tokens and speed so far
        /quit          end, as the end of the input does
        Ctrl-C         stop the answer; twice, or at the prompt, end
        """;

    readonly List<TurnStatistics> _turns = [];

    /// <summary>Talks until the input ends.</summary>
    public void Run()
    {
        context.Log($"template: {chat.Template.Name}; context: {chat.Context} tokens; /help lists commands");
        while (ReadLine() is { } line)
        {
            if (line.Trim() is "/quit" or "/exit")
            {
                break;
            }

            if (line.StartsWith('/'))
            {
                Obey(line.Trim());
            }
            else if (!string.IsNullOrWhiteSpace(line))
            {
                Answer(line);
            }
        }

        if (context.IsJson)
        {
            context.WriteJson(new ChatDocument(chat.Template.Name, chat.Context, chat.Messages, _turns), CommandJson.Documents.ChatDocument);
        }
    }

    // A blocked read cannot be cancelled, so another thread does it; Ctrl-C at the prompt ends the program.
    string? ReadLine()
    {
        if (context.IsInputTerminal)
        {
            context.Error.Write("> ");
            context.Error.Flush();
        }

        return Task.Run(context.Input.ReadLine, context.Cancellation).WaitAsync(context.Cancellation).GetAwaiter().GetResult();
    }

    void Obey(string line)
    {
        string[] words = line.Split(' ', 2, StringSplitOptions.TrimEntries);
        switch (words[0])
        {
            case "/system":
                chat.System = words is [_, { Length: > 0 } text] ? text : null;
                context.Log(chat.System is null ? "no instructions" : $"instructions: {chat.System}");
                break;
            case "/reset":
                chat.Reset();
                context.Log("what was said is forgotten" + (chat.System is null ? "" : "; the instructions stay"));
                break;
            case "/stats":
                PrintStatistics();
                break;
            case "/help":
                context.Error.WriteLine(Help);
                break;
            default:
                context.Warn($"there is no command {words[0]}; /help lists them. A message cannot begin with '/': put a blank before it.");
                break;
        }
    }

    void Answer(string message)
    {
        using Interrupts.Scope work = context.Interrupts.Begin(context.Cancellation);
        ChatTurn? turn = null;
        try
        {
            turn = chat.Ask(message);
            if (turn.ForgottenTurns > 0)
            {
                context.Warn($"the context of {chat.Context} tokens is full: the oldest {(turn.ForgottenTurns == 1 ? "turn is" : $"{turn.ForgottenTurns} turns are")} forgotten");
            }

            foreach (string part in turn.Text(work.Token))
            {
                Write(part);
            }

            Write(Environment.NewLine);
            if (turn.IsContextFull)
            {
                context.Warn($"the answer was cut, for the context of {chat.Context} tokens is full");
            }
        }
        catch (OperationCanceledException) when (work.Token.IsCancellationRequested)
        {
            Write(Environment.NewLine);
            context.Cancellation.ThrowIfCancellationRequested();
            context.Log("stopped");
        }
        catch (OpenElmException problem)
        {
            context.Warn(problem.Message); // of this message; the conversation goes on
        }
        finally
        {
            if (turn is not null)
            {
                _turns.Add(new TurnStatistics(turn.Run));
            }
        }
    }

    void Write(string text)
    {
        if (!context.IsJson)
        {
            context.Output.Write(text);
            context.Output.Flush();
        }
    }

    void PrintStatistics()
    {
        if (_turns is not [.., var last])
        {
            context.Log("nothing was said yet");
            return;
        }

        context.Log($"{_turns.Count} {(_turns.Count == 1 ? "turn" : "turns")}: {_turns.Sum(turn => turn.PromptTokens)} tokens in prompts, {_turns.Sum(turn => turn.ReusedTokens)} of them known from before; {_turns.Sum(turn => turn.GeneratedTokens)} tokens generated");
        context.Log($"last turn: {last.PromptTokens} tokens in the prompt, {last.ReusedTokens} known, first token after {last.SecondsToFirstToken:0.00} s; {last.GeneratedTokens} generated, {last.TokensPerSecond:0.0} tokens/s");
        if (_turns.Sum(turn => turn.Proposed) is > 0 and int proposed)
        {
            context.Log($"speculation: {_turns.Sum(turn => turn.Accepted)} of {proposed} proposed tokens accepted");
        }
    }
}
