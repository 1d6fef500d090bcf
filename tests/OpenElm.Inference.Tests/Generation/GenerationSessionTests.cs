using OpenElm.Inference.Generation;

namespace OpenElm.Inference.Tests.Generation;

public sealed class GenerationSessionTests
{
    static readonly GenerationOptions Twenty = new() { MaxTokens = 20, IgnoreEos = true };

    [Fact]
    public void A_common_beginning_is_fed_once_and_changes_nothing()
    {
        using TextModel model = TinyModels.Create(61);
        using GenerationSession session = model.CreateSession();
        int[] prompt = [1, 7, 8, 9];
        GenerationRun first = session.Start(prompt, Twenty);
        int[] output = [.. first.Tokens()];
        Assert.Equal(0, first.ReusedTokens);

        // The next turn: all before, and something new. The last token was never fed.
        int[] next = [.. prompt, .. output, 30, 31];
        GenerationRun second = session.Start(next, Twenty);
        Assert.Equal(model.Generate(next, Twenty), second.Tokens());
        Assert.Equal(prompt.Length + output.Length - 1, second.ReusedTokens);

        // One that departs early, one that is a beginning, and the same again.
        foreach ((int[] other, int reused) in new[] { ([1, 7, 5, 5], 2), (next[..10], 2), (next[..10], 9), (new[] { 3 }, 0) })
        {
            GenerationRun run = session.Start(other, Twenty);
            Assert.Equal(model.Generate(other, Twenty), run.Tokens());
            Assert.Equal(reused, run.ReusedTokens);
        }
    }

    [Fact]
    public void A_sequence_that_outgrows_the_state_keeps_what_was_fed()
    {
        using TextModel model = TinyModels.Create(61);
        using GenerationSession session = model.CreateSession();
        int[] prompt = [1, 2, 3];
        Assert.Equal(2, session.Start(prompt, Twenty with { MaxTokens = 2 }).Tokens().Count());
        GenerationRun run = session.Start(prompt, Twenty with { MaxTokens = 100 });
        Assert.Equal(model.Generate(prompt, Twenty with { MaxTokens = 100 }), run.Tokens());
        Assert.Equal(2, run.ReusedTokens);
    }

    [Fact]
    public void A_cancelled_output_leaves_the_session_usable()
    {
        using TextModel model = TinyModels.Create(61);
        using GenerationSession session = model.CreateSession();
        using var source = new CancellationTokenSource();
        GenerationRun cancelled = session.Start(new[] { 1, 2, 3 }, Twenty);
        Assert.Throws<OperationCanceledException>(() => cancelled.Tokens(source.Token).Select((token, i) => { source.Cancel(); return token; }).Count());
        Assert.Equal(model.Generate(new[] { 1, 2, 3 }, Twenty), session.Start(new[] { 1, 2, 3 }, Twenty).Tokens());
    }

    [Fact]
    public void One_output_at_a_time()
    {
        using TextModel model = TinyModels.Create(61);
        using GenerationSession session = model.CreateSession();
        using IEnumerator<int> first = session.Start(new[] { 1, 2, 3 }, Twenty).Tokens().GetEnumerator();
        Assert.True(first.MoveNext());
        Assert.NotEmpty(session.Start(new[] { 4 }, Twenty).Tokens());
        Assert.Contains("one output at a time", Assert.Throws<InvalidOperationException>(() => first.MoveNext()).Message);
    }

    [Fact]
    public void Sessions_on_several_threads_do_not_disturb_each_other()
    {
        using TextModel model = TinyModels.Create(61);
        int[][] prompts = [.. Enumerable.Range(0, 40).Select(i => TestModels.Tokens(1 + (i % 7), 61, seed: i))];
        int[][] expected = [.. prompts.Select(prompt => model.Generate(prompt, Twenty).ToArray())];
        int[][] found = [.. prompts.AsParallel().AsOrdered().Select(prompt => model.Generate(prompt, Twenty).ToArray())];
        Assert.Equal(expected, found);
    }

    [Fact]
    public void Lazy_sequences_check_at_once_and_generate_anew_each_time()
    {
        using TextModel model = TinyModels.Create(61);
        Assert.Contains("no tokens", Assert.Throws<OpenElmException>(() => model.Generate(Array.Empty<int>())).Message);
        Assert.Contains("needs a tokenizer", Assert.Throws<OpenElmException>(() => model.GenerateText("Hello")).Message);
        Assert.Contains("id 61", Assert.Throws<OpenElmException>(() => model.Generate(new[] { 61 })).Message);
        IEnumerable<int> tokens = model.Generate(new[] { 1, 2 }, Twenty);
        Assert.Equal(tokens, tokens);
    }

    [Fact]
    public void Stop_tokens_end_the_output()
    {
        using TextModel model = TinyModels.Create(61);
        int[] whole = [.. model.Generate(new[] { 1, 2 }, Twenty)];
        int stop = whole[^1], at = Array.IndexOf(whole, stop);
        using GenerationSession session = model.CreateSession();
        GenerationRun run = session.Start(new[] { 1, 2 }, Twenty with { StopTokens = [60, stop] });
        Assert.Equal(whole[..at], run.Tokens());
        Assert.Equal(FinishReason.StopToken, run.FinishReason);
        string message = Assert.Throws<OpenElmException>(() => session.Start(new[] { 1 }, Twenty with { StopTokens = [-1, 61] })).Message;
        Assert.Contains("stop token -1", message);
        Assert.Contains("stop token 61", message);
    }
}
