using OpenElm.Configuration;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests.Scoring;

public sealed class ScorerTests(PaddedModel padded) : IClassFixture<PaddedModel>
{
    [Fact]
    public void Log_probabilities_are_those_of_the_logits()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        int[] tokens = TestModels.Tokens(190, 131); // more than one run of rows
        float[] logits = new float[190 * 131];
        model.ComputeLogits(tokens, 0, logits);
        foreach (int start in new[] { 1, 2, 64, 65, 100, 189 })
        {
            Score score = new Scorer(model, null).ScoreFrom(tokens, start);
            Score byInterface = new Scorer(new OnlyLogits(model), null).ScoreFrom(tokens, start);
            Assert.Equal(190 - start, score.LogProbabilities.Length);
            for (int i = 0; i < score.LogProbabilities.Length; i++)
            {
                double[] row = [.. logits.Skip((start + i - 1) * 131).Take(131).Select(v => (double)v)];
                double expected = row[tokens[start + i]] - Math.Log(row.Sum(Math.Exp));
                Assert.Equal(expected, score.LogProbabilities[i], 1e-9); // double precision after the same logits
                Assert.Equal(score.LogProbabilities[i], byInterface.LogProbabilities[i]);
            }

            Assert.Equal(score.LogProbabilities.Sum(), score.Sum);
        }
    }

    [Fact]
    public void Rows_that_only_pad_have_no_probability()
    {
        var scorer = new Scorer(padded.Text.Model, padded.Text.Tokenizer);
        double total = 0;
        float[] logits = new float[PaddedModel.Rows];
        padded.Text.Model.ComputeLogits([1], 0, logits);
        for (int id = 0; id < PaddedModel.Pieces; id++)
        {
            total += Math.Exp(LogSoftmax.Of(logits.AsSpan(0, PaddedModel.Pieces), id));
        }

        Assert.Equal(1, total, 1e-9);
        Assert.Equal(LogSoftmax.Of(logits.AsSpan(0, PaddedModel.Pieces), 77), scorer.ScoreTokens([1, 77]).Sum);
        Assert.Contains("32000", Assert.Throws<OpenElmException>(() => scorer.ScoreTokens([1, 32000])).Message);
        // Without a tokenizer all rows count, and the padding rows of this model take nearly all probability.
        var all = new Scorer(padded.Text.Model, null);
        Assert.Equal(LogSoftmax.Of(logits, 32005), all.ScoreTokens([1, 32005]).Sum);
        Assert.True(all.ScoreTokens([1, 77]).Sum < scorer.ScoreTokens([1, 77]).Sum - 1);
    }

    [Fact]
    public void A_text_gets_a_BOS_that_is_not_scored()
    {
        var scorer = new Scorer(padded.Text.Model, padded.Text.Tokenizer);
        int[] ids = padded.Text.Tokenizer!.Encode("The cat sat");
        Assert.Equal(ids.Length, scorer.ScoreText("The cat sat").LogProbabilities.Length);
        Assert.Equal(scorer.ScoreTokens([1, .. ids]).LogProbabilities, scorer.ScoreText("The cat sat").LogProbabilities);
        Assert.Throws<OpenElmException>(() => scorer.ScoreText(""));
    }

    [Theory]
    [InlineData("Question: why?\nAnswer:", " because", 1)] // ▁because
    [InlineData("Question: why?\nAnswer: ", "because", 1)] // the blank moves over
    [InlineData("The cat", "s sat", 1)] // ▁The ▁cats ▁sat: the s belongs to a piece that the rule counts as context
    public void A_continuation_is_what_the_whole_has_more_than_the_context(string context, string continuation, int scored)
    {
        var scorer = new Scorer(padded.Text.Model, padded.Text.Tokenizer);
        (int[] tokens, int start) = scorer.Split(context, continuation);
        Assert.Equal([1, .. padded.Text.Tokenizer!.Encode(context + continuation)], tokens);
        Assert.Equal(scored, tokens.Length - start);
        Assert.Equal(scorer.ScoreTokens(tokens).LogProbabilities[(start - 1)..], scorer.ScoreContinuation(context, continuation).LogProbabilities);
    }

    [Fact]
    public void An_empty_context_is_the_end_of_a_sequence()
    {
        var scorer = new Scorer(padded.Text.Model, padded.Text.Tokenizer);
        (int[] tokens, int start) = scorer.Split("", "Hello");
        Assert.Equal([2, 1, .. padded.Text.Tokenizer!.Encode("Hello")], tokens);
        Assert.Equal(1, start);
    }

    [Fact]
    public void Greedy_tokens_are_recognised()
    {
        int[] prompt = [1, 5, 9];
        int[] output = [.. padded.Text.Generate(prompt, new() { MaxTokens = 6, IgnoreEos = true })];
        var scorer = new Scorer(padded.Text.Model, padded.Text.Tokenizer);
        Assert.True(scorer.ScoreFrom([.. prompt, .. output], 3).IsGreedy);
        output[3]++;
        Assert.False(scorer.ScoreFrom([.. prompt, .. output], 3).IsGreedy);
    }

    [Fact]
    public void What_cannot_be_scored_is_named()
    {
        var scorer = new Scorer(padded.Text.Model, null);
        Assert.Contains("at least two", Assert.Throws<OpenElmException>(() => scorer.ScoreTokens([1])).Message);
        Assert.Contains("tokenizer", Assert.Throws<OpenElmException>(() => scorer.ScoreText("x")).Message);
        Assert.Contains("limit of 96", Assert.Throws<OpenElmException>(() => scorer.ScoreTokens(new int[200])).Message);
    }

    sealed class OnlyLogits(OpenElmModel model) : ICausalLM
    {
        public OpenElmConfig Config => model.Config;

        public void ComputeLogits(ReadOnlySpan<int> tokens, int firstPosition, Span<float> logits) => model.ComputeLogits(tokens, firstPosition, logits);
    }
}
