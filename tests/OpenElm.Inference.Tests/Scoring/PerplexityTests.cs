using OpenElm.Configuration;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests.Scoring;

public sealed class PerplexityTests(PaddedModel padded) : IClassFixture<PaddedModel>
{
    [Fact]
    public void A_short_text_is_scored_at_once()
    {
        const string Text = "The cat  sat on thé mat.\n"; // 6 words, 26 bytes
        Perplexity perplexity = new PerplexityMeter(padded.Text.Model, padded.Text.Tokenizer).MeasureText(Text);
        double sum = new Scorer(padded.Text.Model, padded.Text.Tokenizer).ScoreText(Text).Sum;
        int tokens = padded.Text.Tokenizer!.Encode(Text).Length;
        Assert.Equal(new Perplexity(tokens, 6, 26, sum), perplexity);
        Assert.Equal(Math.Exp(-sum / tokens), perplexity.PerToken);
        Assert.Equal(Math.Exp(-sum / 6), perplexity.PerWord!.Value, 1e-3 * Math.Exp(-sum / 6));
        Assert.Equal(Math.Exp(-sum / 26), perplexity.PerByte!.Value);
        Assert.Equal(-sum / 26 / Math.Log(2), perplexity.BitsPerByte!.Value, 1e-12);
    }

    [Fact]
    public void A_uniform_model_has_the_perplexity_of_its_candidates()
    {
        var meter = new PerplexityMeter(new Uniform(PaddedModel.Rows), padded.Text.Tokenizer, window: 16, stride: 5);
        Assert.Equal(PaddedModel.Pieces, meter.MeasureTokens(TestModels.Tokens(99, 1000)).PerToken, 1e-6);
        Assert.Equal(PaddedModel.Rows, new PerplexityMeter(new Uniform(PaddedModel.Rows), null).MeasureTokens([4, 5]).PerToken, 1e-6);
    }

    [Theory]
    [InlineData(10, 4, 1)]
    [InlineData(10, 4, 10)]
    [InlineData(10, 4, 11)]
    [InlineData(10, 4, 14)]
    [InlineData(10, 4, 37)]
    [InlineData(10, 10, 37)]
    [InlineData(1, 1, 3)]
    public void Windows_score_each_token_once_with_BOS_in_front(int window, int stride, int length)
    {
        var spy = new Uniform(100);
        var meter = new PerplexityMeter(spy, null, window, stride);
        int[] tokens = [.. Enumerable.Range(10, length)];
        Assert.Equal(length, meter.MeasureTokens(tokens).Tokens);
        var scored = new List<int>();
        foreach ((int[] input, int first) in spy.Calls)
        {
            Assert.Equal(1, input[0]); // BOS
            Assert.InRange(input.Length, 1, window);
            Assert.True(scored.Count == 0 || first + 1 >= window - stride, "less context than the window minus the stride");
            // Position p predicts the token after it; the last of them follows the input.
            int last = input.Length > 1 ? input[^1] + 1 : 10 + scored.Count;
            scored.AddRange(Enumerable.Range(last - (input.Length - first) + 1, input.Length - first));
        }

        Assert.Equal(tokens, scored);
    }

    [Fact]
    public void Sums_of_texts_add_up()
    {
        var left = new Perplexity(3, 2, 10, -6);
        Assert.Equal(new Perplexity(5, 3, 17, -8), left + new Perplexity(2, 1, 7, -2));
        Assert.Null((left + new Perplexity(2, null, null, -2)).PerWord);
    }

    [Fact]
    public void Impossible_windows_are_named()
    {
        string message = Assert.Throws<OpenElmException>(() => new PerplexityMeter(padded.Text.Model, null, window: 97, stride: 98)).Message;
        Assert.Contains("1 to 96", message);
        Assert.Contains("stride is 98", message);
        Assert.Contains("no tokens", Assert.Throws<OpenElmException>(() => new PerplexityMeter(padded.Text.Model, null).MeasureTokens([])).Message);
    }

    sealed class Uniform(int vocab) : ICausalLM
    {
        public List<(int[] Input, int First)> Calls { get; } = [];

        public OpenElmConfig Config { get; } = new() { VocabSize = vocab, BosTokenId = 1 };

        public void ComputeLogits(ReadOnlySpan<int> tokens, int firstPosition, Span<float> logits)
        {
            Calls.Add((tokens.ToArray(), firstPosition));
            logits.Fill(2);
        }
    }
}
