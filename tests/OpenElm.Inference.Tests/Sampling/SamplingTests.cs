using System.Collections.Immutable;
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

    // Hugging Face's TypicalLogitsWarper by hand. Probabilities ½, ¼, ⅛, ⅛ have an entropy of 1.75 bits; surprises 1, 2, 3, 3 bits
    // lie 0.75, 0.25, 1.25, 1.25 from it: the order is ¼, ½, then both eighths, whose tie is kept whole.
    [Theory]
    [InlineData(0.1, "0")]
    [InlineData(0.25, "0")] // the token that reaches the mass is the last
    [InlineData(0.26, "0,1")]
    [InlineData(0.75, "0,1")]
    [InlineData(0.8, "0,1,2,3")]
    public void Typical_p_keeps_the_tokens_of_ordinary_surprise(double mass, string kept)
    {
        float[] logits = Apply(new TypicalP(mass), [MathF.Log(4), MathF.Log(8), MathF.Log(2), MathF.Log(2), Dropped]);
        Assert.Equal(kept, string.Join(',', Enumerable.Range(0, 5).Where(i => float.IsFinite(logits[i]))));
    }

    // OpenAI's definition: logit[j] −= count[j] · frequency + (count[j] > 0) · presence, counting what was generated.
    [Fact]
    public void Frequency_and_presence_penalties_count_the_output_only()
    {
        int[] tokens = [3, 3, 0, 1, 0, 0]; // two of the prompt
        Assert.Equal([4 - 1.5f, 4 - 0.5f, 4, 4], Apply(new FrequencyPenalty(0.5, 2), [4, 4, 4, 4], tokens));
        Assert.Equal([4 - 0.25f, 4 - 0.25f, 4, 4], Apply(new PresencePenalty(0.25, 2), [4, 4, 4, 4], tokens));
        var both = new SamplingOptions { FrequencyPenalty = 0.5, PresencePenalty = 0.25 };
        Chain chain = both.CreateProcessors(2);
        Assert.Equal([4 - 1.75f, 4 - 0.75f, 4, 4], Apply(chain, [4, 4, 4, 4], tokens));
        Assert.Equal([4 - 1.75f, 4 - 0.75f, 4, 4], Apply(chain, [4, 4, 4, 4], tokens)); // its counts begin anew
        Assert.Equal(3, both.CreateSampler(2).Sample(tokens, [4, 4, 4, 4.1f]));
        Assert.Equal(0, (both with { FrequencyPenalty = -1 }).CreateSampler(2).Sample(tokens, [4, 4, 4, 4.1f])); // below 0 it encourages
    }

    [Fact]
    public void A_bias_forbids_and_forces()
    {
        SamplingOptions options = new() { LogitBias = ImmutableDictionary<int, double>.Empty.Add(1, -100).Add(2, 1.5) };
        Assert.Equal(2, options.CreateSampler().Sample([], [1, 9, 0]));
        Assert.Equal([1, -91, 1.5f], Apply(options.CreateProcessors(), [1, 9, 0]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(17)]
    [InlineData(999)]
    public void Top_k_keeps_what_sorting_keeps(int k)
    {
        var random = new Random(k);
        float[] logits = [.. Enumerable.Range(0, 1000).Select(_ => (float)random.Next(400) / 7)]; // with many ties
        float smallest = logits.OrderDescending().ElementAt(k - 1);
        Assert.Equal(logits.Select(logit => logit >= smallest ? logit : Dropped), Apply(new TopK(k), logits.ToArray()));
    }

    [Theory]
    [InlineData(0.3)]
    [InlineData(0.9)]
    [InlineData(0.999)]
    public void Top_p_of_many_keeps_what_the_definition_keeps(double p)
    {
        var random = new Random(5);
        float[] logits = [.. Enumerable.Range(0, 5000).Select(_ => (float)(random.NextDouble() * 12))];
        double[] weights = [.. logits.Select(logit => Math.Exp(logit))];
        double cumulative = 0, sum = weights.Sum();
        float[] expected = logits.ToArray();
        foreach (int i in Enumerable.Range(0, 5000).OrderBy(i => logits[i]))
        {
            cumulative += weights[i] / sum;
            expected[i] = cumulative <= 1 - p ? Dropped : logits[i];
        }

        Assert.Equal(expected, Apply(new TopP(p), logits.ToArray()));
    }

    [Fact]
    public void No_processor_allocates()
    {
        var options = new SamplingOptions
        {
            Temperature = 0.9,
            TopK = 50,
            TopP = 0.9,
            MinP = 0.01,
            TypicalP = 0.9,
            RepetitionPenalty = 1.1,
            FrequencyPenalty = 0.1,
            PresencePenalty = 0.1,
            LogitBias = ImmutableDictionary<int, double>.Empty.Add(3, 1),
        };
        ISampler sampler = options.CreateSampler(2), greedy = new SamplingOptions { RepetitionPenalty = 1.1 }.CreateSampler();
        var random = new Random(2);
        float[] logits = [.. Enumerable.Range(0, 1000).Select(_ => random.NextSingle() * 9)], row = new float[1000];
        int[] tokens = [.. Enumerable.Range(0, 100)];
        void Sample()
        {
            logits.CopyTo(row, 0);
            sampler.Sample(tokens, row);
            greedy.Sample(tokens, row);
        }

        Sample();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            Sample();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

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
    public void Logits_beyond_numbers_are_reported() =>
        Assert.Contains("temperature", Assert.Throws<OpenElmException>(() => new SamplingOptions { Temperature = 1e-40 }.CreateSampler().Sample([], [1, 2])).Message);

    [Fact]
    public void All_problems_are_reported_at_once()
    {
        var options = new SamplingOptions { Temperature = double.NaN, TopK = -1, TopP = 1.5, MinP = -0.1, TypicalP = 0, RepetitionPenalty = 0, FrequencyPenalty = double.NaN, PresencePenalty = double.PositiveInfinity, LogitBias = ImmutableDictionary<int, double>.Empty.Add(-1, 2) };
        string message = Assert.Throws<OpenElmException>(() => options.Validated()).Message;
        Assert.Equal(
            "Invalid sampling options:\n" +
            "  temperature is NaN; it must be 0 (greedy) or a positive number\n" +
            "  top_k is -1; it must be 0 (all) or more\n" +
            "  top_p is 1.5; it must be in (0, 1]\n" +
            "  min_p is -0.1; it must be in [0, 1]\n" +
            "  typical_p is 0; it must be in (0, 1]\n" +
            "  repetition_penalty is 0; it must be a positive number (1 changes nothing)\n" +
            "  frequency_penalty is NaN; it must be in [-1000, 1000] (0 changes nothing)\n" +
            "  presence_penalty is Infinity; it must be in [-1000, 1000] (0 changes nothing)\n" +
            "  logit_bias adds 2 to token -1; it takes ids of tokens and numbers in [-1000, 1000]",
            message);
        Assert.Contains("greedy", Assert.Throws<OpenElmException>(() => new SamplingOptions { TopK = 4 }.Validated()).Message);
    }

    static float[] Apply(ILogitsProcessor processor, float[] logits, params int[] tokens)
    {
        processor.Apply(tokens, logits);
        return logits;
    }
}
