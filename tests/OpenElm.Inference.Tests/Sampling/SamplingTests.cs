using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests.Sampling;

/// <summary>Rules of the samplers; their agreement with Hugging Face's is a golden file.</summary>
public sealed class SamplingTests
{
    const float Dropped = float.NegativeInfinity;

    [Fact]
    public void Greedy_takes_the_first_of_equal_logits() => Assert.Equal(1, new SamplingOptions().CreateSampler().Sample([], [0, 5, 5, -1]));

    [Fact]
    public void Top_k_keeps_ties() => Assert.Equal([Dropped, 3, 2, 2], Apply(new TopK(2), [1, 3, 2, 2]));

    [Fact]
    public void Top_k_beyond_the_vocabulary_keeps_all() => Assert.Equal([1, 3], Apply(new TopK(5), [1, 3]));

    [Fact]
    public void Top_p_always_keeps_the_likeliest() => Assert.Equal([Dropped, 9, Dropped], Apply(new TopP(1e-9), [1, 9, 2]));

    // Probabilities ½, ¼, ⅛, ⅛ (the last two in either order): ascending sums ⅛, ¼, ½, 1.
    [Theory]
    [InlineData(0.5, 1)] // ½ is at most 1 − p: dropped
    [InlineData(0.51, 2)]
    [InlineData(0.76, 3)]
    [InlineData(0.9, 4)]
    public void Top_p_keeps_the_fewest_that_exceed_p(double p, int kept)
    {
        float[] logits = Apply(new TopP(p), [MathF.Log(4), MathF.Log(8), MathF.Log(2), MathF.Log(2)]);
        Assert.Equal(kept, logits.Count(float.IsFinite));
        Assert.True(float.IsFinite(logits[1]));
    }

    [Fact]
    public void Min_p_is_relative_to_the_likeliest() =>
        Assert.Equal([MathF.Log(8), MathF.Log(4), Dropped], Apply(new MinP(0.3), [MathF.Log(8), MathF.Log(4), MathF.Log(2)]));

    [Fact]
    public void Repetition_penalty_counts_an_id_once_and_respects_signs() =>
        Assert.Equal([2, -2, 3], Apply(new RepetitionPenalty(2), [4, -1, 3], 0, 1, 0, 1, 7));

    [Fact]
    public void Draws_follow_the_probabilities_and_the_seed()
    {
        float[] logits = [MathF.Log(0.5f), Dropped, MathF.Log(0.3f), MathF.Log(0.2f)];
        int[] Draw(int seed)
        {
            ISampler sampler = new SamplingOptions { Temperature = 1, Seed = seed }.CreateSampler();
            return [.. Enumerable.Range(0, 20_000).Select(_ => sampler.Sample([], logits.ToArray()))];
        }

        int[] draws = Draw(7);
        double Share(int id) => draws.Count(draw => draw == id) / 20_000.0;
        Assert.Equal(0.5, Share(0), 0.015); // four standard deviations of a share of 20,000 draws
        Assert.Equal(0, Share(1));
        Assert.Equal(0.3, Share(2), 0.015);
        Assert.Equal(draws, Draw(7));
        Assert.NotEqual(draws, Draw(8));
    }

    [Fact]
    public void Large_logits_draw_without_overflow() => Assert.Equal(1, new SamplingOptions { Temperature = 0.01 }.CreateSampler().Sample([], [1, 900, 3]));

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        var options = new SamplingOptions { Temperature = double.NaN, TopK = -1, TopP = 1.5, MinP = -0.1, RepetitionPenalty = 0 };
        string message = Assert.Throws<OpenElmException>(() => options.Validated()).Message;
        Assert.Equal(
            "Invalid sampling options:\n" +
            "  temperature is NaN; it must be 0 (greedy) or a positive number\n" +
            "  top_k is -1; it must be 0 (all) or more\n" +
            "  top_p is 1.5; it must be in (0, 1]\n" +
            "  min_p is -0.1; it must be in [0, 1]\n" +
            "  repetition_penalty is 0; it must be a positive number (1 changes nothing)",
            message);
        Assert.Contains("greedy", Assert.Throws<OpenElmException>(() => new SamplingOptions { TopK = 4 }.Validated()).Message);
    }

    static float[] Apply(ILogitsProcessor processor, float[] logits, params int[] tokens)
    {
        processor.Apply(tokens, logits);
        return logits;
    }
}
