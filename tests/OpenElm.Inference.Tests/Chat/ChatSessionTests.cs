using OpenElm.Chat;
using OpenElm.Inference.Chat;
using OpenElm.Inference.Generation;

namespace OpenElm.Inference.Tests.Chat;

public sealed class ChatSessionTests : IDisposable
{
    readonly TextModel _stories = TextModel.Load(TestModels.StoriesFolder);

    static readonly GenerationOptions Short = new() { MaxTokens = 12 };

    public void Dispose() => _stories.Dispose();

    [Fact]
    public void Turns_build_on_each_other_and_feed_only_what_is_new()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Zephyr, Short);
        ChatTurn first = chat.Ask("Hello");
        string answer = string.Concat(first.Text());
        Assert.Equal(0, first.Run.ReusedTokens);
        Assert.Equal([new ChatMessage("user", "Hello"), new ChatMessage("assistant", answer)], chat.Messages);

        ChatTurn second = chat.Ask("Again");
        int[] prompt = second.Run.Prompt.ToArray();
        Assert.Equal(prompt, Encode(ChatTemplate.Zephyr.Render([.. chat.Messages, new("user", "Again")], true, "<s>", "</s>")));
        string again = string.Concat(second.Text());
        Assert.Equal(string.Concat(_stories.CreateSession().Start(prompt, Short with { Stop = ChatTemplate.Zephyr.Stop }).Text()), again);
        Assert.True(second.Run.ReusedTokens >= first.Run.Prompt.Length, $"{second.Run.ReusedTokens} of {first.Run.Prompt.Length} tokens reused");

        chat.Reset();
        Assert.Empty(chat.Messages);
        Assert.Equal(answer, string.Concat(chat.Ask("Hello").Text()));
    }

    [Fact]
    public void Special_tokens_of_the_template_are_ids()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Zephyr, Short);
        int[] prompt = chat.Ask("Hi").Run.Prompt.ToArray();
        Assert.Equal(1, prompt[0]);
        Assert.Equal(2, prompt.Count(id => id == 2)); // after the empty system message and after the question
        using var withBos = new ChatSession(_stories, ChatTemplate.Parse("{{ bos_token }}{{ messages[0].content }}", "x"), Short);
        Assert.Equal(1, withBos.Ask("Hi").Run.Prompt.ToArray().Count(id => id == 1)); // the template's own, not another one
    }

    [Fact]
    public void Instructions_come_first()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Zephyr, Short) { System = "Tell stories." };
        ChatTurn turn = chat.Ask("Hi");
        Assert.Equal(Encode("<|system|>\nTell stories.</s>\n<|user|>\nHi</s>\n<|assistant|>\n"), turn.Run.Prompt.ToArray());
        Assert.Equal("system", chat.Messages[0].Role);
    }

    [Fact]
    public void A_full_context_forgets_the_oldest_turns()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Zephyr, Short, context: 150) { System = "Be brief." };
        int forgotten = 0;
        for (int i = 0; i < 8; i++)
        {
            ChatTurn turn = chat.Ask($"Question {i}");
            Assert.InRange(turn.Run.Prompt.Length, 1, 150 - 12);
            Assert.NotEmpty(string.Concat(turn.Text()));
            forgotten += turn.ForgottenTurns;
            Assert.Equal("Be brief.", chat.Messages[0].Content);
            Assert.Equal(1 + (2 * (i + 1 - forgotten)), chat.Messages.Count);
        }

        Assert.InRange(forgotten, 2, 7);
        string message = Assert.Throws<OpenElmException>(() => chat.Ask(new string('x', 500))).Message;
        Assert.Contains("too long", message);
        Assert.NotEmpty(string.Concat(chat.Ask("Short").Text())); // the conversation goes on
    }

    [Fact]
    public void An_answer_that_fills_the_context_says_so()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Parse("{{ messages[-1].content }}", "x"), new GenerationOptions { MaxTokens = 400, IgnoreEos = true }, context: 60);
        ChatTurn turn = chat.Ask("Once upon a time");
        Assert.NotEmpty(string.Concat(turn.Text()));
        Assert.True(turn.IsContextFull);
        Assert.Equal(60, turn.Run.Prompt.Length + turn.Run.Output.Length);
    }

    [Fact]
    public void What_was_said_before_a_cancellation_stays()
    {
        using var chat = new ChatSession(_stories, ChatTemplate.Zephyr, Short);
        using var source = new CancellationTokenSource();
        string heard = "";
        Assert.Throws<OperationCanceledException>(() =>
        {
            foreach (string part in chat.Ask("Hello").Text(source.Token))
            {
                heard += part;
                source.Cancel();
            }
        });
        Assert.Equal([new ChatMessage("user", "Hello"), new ChatMessage("assistant", heard)], chat.Messages);
        Assert.NotEmpty(string.Concat(chat.Ask("Go on").Text()));
    }

    int[] Encode(string text) => _stories.Tokenizer!.Encode(text, new() { AddBos = true, RecognizeSpecialPieces = true });
}
