using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests.Generation;

public sealed class GenerationRunTests(PaddedModel padded) : IClassFixture<PaddedModel>
{
    static readonly GenerationOptions Sampled = new() { MaxTokens = 40, IgnoreEos = true, Sampling = new SamplingOptions { Temperature = 1, Seed = 5 } };

    [Fact]
    public void Rows_that_only_pad_are_never_generated()
    {
        int[] prompt = padded.Text.Tokenizer!.Encode("Hello", new() { AddBos = true });
        float[] logits = new float[PaddedModel.Rows];
        using SequenceState state = padded.Text.Model.CreateState(10);
        padded.Text.Model.Prefill(prompt, state, logits);
        Assert.InRange(Array.IndexOf(logits, logits.Max()), PaddedModel.Pieces, PaddedModel.Rows); // else the test proves nothing
        Assert.All(padded.Text.Generate(padded.Text.EncodePrompt("Hello"), Sampled), id => Assert.InRange(id, 0, PaddedModel.Pieces - 1));
        Assert.Equal(Array.IndexOf(logits, logits.AsSpan(0, PaddedModel.Pieces).ToArray().Max()), padded.Text.Generate(prompt, new GenerationOptions { MaxTokens = 1 }).Single());
    }

    [Fact]
    public void Text_is_what_the_tokens_say()
    {
        GenerationRun ids = padded.Text.CreateSession().Start("Hello", Sampled);
        int[] output = [.. ids.Tokens()];
        Assert.Equal(FinishReason.MaxTokens, ids.FinishReason);
        Assert.Equal(output, ids.Output.ToArray());
        GenerationRun text = padded.Text.CreateSession().Start("Hello", Sampled);
        string parts = string.Concat(text.Text());
        Assert.Equal(padded.Text.Tokenizer!.Decode([.. ids.Prompt.Span, .. output]), "Hello" + parts);
        Assert.Equal(output, text.Output.ToArray()); // the same seed
    }

    [Fact]
    public void A_stop_text_ends_the_output_before_it()
    {
        string whole = string.Concat(padded.Text.GenerateText("Hello", Sampled));
        string stop = whole.Substring(whole.Length / 2, 5);
        GenerationRun run = padded.Text.CreateSession().Start("Hello", Sampled with { Stop = ["never written", stop] });
        string text = string.Concat(run.Text());
        Assert.Equal(whole[..whole.IndexOf(stop, StringComparison.Ordinal)], text);
        Assert.Equal(FinishReason.StopText, run.FinishReason);
    }

    [Theory]
    [InlineData("ab|c|de", "", "abcde", false)]
    [InlineData("ab|cX|Yde", "XY", "abc", true)]
    [InlineData("aX|X|Y|Z", "XY", "aX", true)]
    [InlineData("aX|X|", "XY", "aXX", false)]
    [InlineData("1ABAB|ABC", "ABABC", "1AB", true)]
    [InlineData("one two", "two,ne", "o", true)]
    public void Stop_texts_may_span_parts(string parts, string stops, string expected, bool stopped)
    {
        var filter = new StopTextFilter([.. stops.Split(',', StringSplitOptions.RemoveEmptyEntries)]);
        string text = "";
        foreach (string part in parts.Split('|'))
        {
            text += filter.Stopped ? "" : filter.Append(part);
        }

        Assert.Equal(expected, text + filter.Flush());
        Assert.Equal(stopped, filter.Stopped);
    }

    [Fact]
    public void The_end_of_a_sequence_ends_the_output()
    {
        // Without a penalty greedy output repeats itself; the token it repeats is declared the end.
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        float[] logits = new float[131];
        using SequenceState state = model.CreateState(10);
        model.Prefill([1, 2, 3], state, logits);
        int first = Array.IndexOf(logits, logits.Max());
        using var folder = new TemporaryFolder();
        OpenElm.Checkpoints.ModelFolderWriter.Write(folder["m"], OpenElm.Checkpoints.RandomModel.Create(TestModels.Layerwise with { EosTokenId = first }, 1));
        using TextModel text = TextModel.Load(folder["m"]);
        GenerationRun run = text.CreateSession().Start(new[] { 1, 2, 3 }, new GenerationOptions());
        Assert.Empty(run.Tokens());
        Assert.Equal(FinishReason.EndOfSequence, run.FinishReason);
        Assert.Equal(first, text.Generate(new[] { 1, 2, 3 }, new GenerationOptions { IgnoreEos = true, MaxTokens = 1 }).Single());
        Assert.Contains("tokenizer", Assert.Throws<OpenElmException>(() => text.GenerateText("text")).Message);
    }

    [Fact]
    public void The_limit_of_the_length_ends_the_output()
    {
        GenerationRun run = padded.Text.CreateSession().Start("Hello", Sampled with { MaxTokens = 1000 });
        int generated = run.Tokens().Count();
        Assert.Equal(FinishReason.LengthLimit, run.FinishReason);
        Assert.Equal(96 + 1, run.Prompt.Length + generated); // the last token is predicted by a full sequence and not fed
    }

    [Fact]
    public void Rates_follow_from_the_clock()
    {
        GenerationRun run = padded.Text.CreateSession(time: new TickingTime()).Start("Hello", Sampled with { MaxTokens = 5 });
        Assert.Equal(5, run.Tokens().Count());
        // One second passes whenever the clock is read: at the start, then after each token.
        Assert.Equal(new GenerationRates(2, 5, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(5)), run.Rates);
        Assert.Equal((2.0, 1.25, 1.4), (run.Rates.PromptTokensPerSecond, run.Rates.GenerationTokensPerSecond, run.Rates.TotalTokensPerSecond));
    }

    [Fact]
    public void It_can_be_cancelled_and_is_enumerated_once()
    {
        using var source = new CancellationTokenSource();
        GenerationRun run = padded.Text.CreateSession().Start("Hello", Sampled);
        Assert.Throws<OperationCanceledException>(() =>
        {
            foreach (int _ in run.Tokens(source.Token))
            {
                source.Cancel();
            }
        });
        Assert.Equal(1, run.Output.Length);
        Assert.Throws<InvalidOperationException>(() => run.Tokens().Any());
    }

    [Fact]
    public void Wrong_requests_are_named()
    {
        using GenerationSession generator = padded.Text.CreateSession();
        string message = Assert.Throws<OpenElmException>(() => generator.Start("x", new GenerationOptions { MaxTokens = 0, Stop = [""], Sampling = new SamplingOptions { TopP = 0 } })).Message;
        Assert.Contains("max_tokens is 0", message);
        Assert.Contains("stop text is empty", message);
        Assert.Contains("top_p is 0", message);
        Assert.Contains("no tokens", Assert.Throws<OpenElmException>(() => generator.Start(Array.Empty<int>(), new GenerationOptions())).Message);
        Assert.Contains("limit is 96", Assert.Throws<OpenElmException>(() => generator.Start(new int[97], new GenerationOptions())).Message);
    }

    sealed class TickingTime : TimeProvider
    {
        long _ticks;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => _ticks++;
    }
}
