using OpenElm.Inference.Generation;
using OpenElm.Inference.Generation.Beams;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests.Generation.Beams;

public sealed class BeamSearchTests
{
    const int Eos = 2;

    [Fact]
    public void One_beam_is_greedy()
    {
        using TextModel model = TinyModels.Create(31);
        var random = new Random(1);
        int ended = 0;
        for (int i = 0; i < 300; i++)
        {
            int[] prompt = [.. Enumerable.Range(0, random.Next(1, 10)).Select(_ => random.Next(31))];
            var options = new GenerationOptions { MaxTokens = 25, StopTokens = [5, 6, 7], Sampling = new SamplingOptions { FrequencyPenalty = i % 2 } };
            using GenerationSession session = model.CreateSession();
            GenerationRun greedy = session.Start(prompt, options);
            int[] expected = [.. greedy.Tokens()];
            BeamOutput best = BeamSearch.Run(model, prompt, new BeamOptions { Beams = 1, Generation = options })[0];
            Assert.Equal(expected, best.Tokens.ToArray());
            Assert.Equal(greedy.FinishReason, best.FinishReason);
            ended += best.FinishReason == FinishReason.MaxTokens ? 0 : 1;
        }

        Assert.InRange(ended, 20, 280);
    }

    // With as many beams as there are outputs nothing is pruned: the ranking is that of all outputs.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(-1)]
    public void Enough_beams_rank_every_output(double lengthPenalty)
    {
        const int Vocab = 5, Longest = 3;
        using TextModel model = TinyModels.Create(Vocab, seed: 7);
        int[] prompt = [1, 3];
        var all = new List<(int[] Tokens, double Score)>();
        Enumerate(model, prompt, [], 0, Longest, (tokens, sum, length) => all.Add((tokens, sum / Math.Pow(length, lengthPenalty))));
        Assert.Equal(1 + 4 + 16 + 64, all.Count);
        var options = new BeamOptions { Beams = 100, LengthPenalty = lengthPenalty, Generation = new GenerationOptions { MaxTokens = Longest } };
        IReadOnlyList<BeamOutput> found = BeamSearch.Run(model, prompt, options);
        Assert.Equal(all.Count, found.Count);
        foreach (((int[] tokens, double score), BeamOutput output) in all.OrderByDescending(output => output.Score).Zip(found))
        {
            Assert.Equal(tokens, output.Tokens.ToArray());
            Assert.Equal(score, output.Score, 1e-5); // log-probabilities are rounded to floats
        }
    }

    // Few beams, against the rules of transformers 4.39 (BeamSearchScorer, BeamHypotheses) in plain loops without any cache.
    [Theory]
    [InlineData(2, 1.0, false)]
    [InlineData(4, 1.0, false)]
    [InlineData(4, 0.0, false)]
    [InlineData(4, 1.5, true)]
    [InlineData(3, -0.5, false)]
    public void Few_beams_follow_the_rules(int beams, double lengthPenalty, bool earlyStopping)
    {
        using TextModel model = TinyModels.Create(19, sharpness: 1);
        var random = new Random(beams);
        int different = 0;
        for (int i = 0; i < 30; i++)
        {
            int[] prompt = [.. Enumerable.Range(0, random.Next(1, 10)).Select(_ => random.Next(19))];
            var options = new BeamOptions
            {
                Beams = beams,
                LengthPenalty = lengthPenalty,
                EarlyStopping = earlyStopping,
                Generation = new GenerationOptions { MaxTokens = 12, Sampling = new SamplingOptions { RepetitionPenalty = i % 2 == 0 ? 1 : 1.3 } },
            };
            List<(int[] Tokens, double Score)> expected = Plain(model, prompt, options);
            IReadOnlyList<BeamOutput> found = BeamSearch.Run(model, prompt, options);
            Assert.Equal(expected.Select(output => output.Tokens), found.Select(output => output.Tokens.ToArray()));
            Assert.All(expected.Zip(found), pair => Assert.Equal(pair.First.Score, pair.Second.Score, 1e-4));
            different += found[0].Tokens.Span.SequenceEqual([.. model.Generate(prompt, options.Generation)]) ? 0 : 1;
        }

        Assert.True(different > 3, $"{different} of 30 differ from greedy"); // else the search finds nothing
    }

    [Fact]
    public void Ends_and_limits_are_respected()
    {
        using TextModel model = TinyModels.Create(31);
        IReadOnlyList<BeamOutput> Run(GenerationOptions options) => BeamSearch.Run(model, new[] { 1, 5 }, new BeamOptions { Generation = options });
        Assert.All(Run(new GenerationOptions { MaxTokens = 1000, IgnoreEos = true }), output => Assert.Equal((FinishReason.LengthLimit, 127), (output.FinishReason, output.Tokens.Length)));
        Assert.Contains(Run(new GenerationOptions { MaxTokens = 20, StopTokens = [3, 4, 5, 6, 7] }), output => output.FinishReason == FinishReason.StopToken);
    }

    [Fact]
    public void Wrong_requests_are_named()
    {
        using TextModel model = TinyModels.Create(31);
        string message = Assert.Throws<OpenElmException>(() => BeamSearch.Run(model, new[] { 1 }, new BeamOptions
        {
            Beams = 0,
            LengthPenalty = double.NaN,
            Generation = new GenerationOptions { Sampling = new SamplingOptions { Temperature = 1 }, PromptLookup = 3 },
        })).Message;
        foreach (string part in new[] { "beams is 0", "length_penalty is NaN", "draws nothing", "prompt_lookup" })
        {
            Assert.Contains(part, message);
        }
    }

    static float[] LogProbabilities(TextModel model, int[] tokens)
    {
        float[] logits = new float[model.Model.Config.VocabSize];
        model.Model.ComputeLogits(tokens, tokens.Length - 1, logits);
        float sum = (float)LogSoftmax.LogSumExp(logits);
        return [.. logits.Select(logit => logit - sum)];
    }

    static void Enumerate(TextModel model, int[] prompt, int[] output, double sum, int longest, Action<int[], double, int> add)
    {
        if (output.Length == longest)
        {
            add(output, sum, longest);
            return;
        }

        float[] next = LogProbabilities(model, [.. prompt, .. output]);
        for (int token = 0; token < next.Length; token++)
        {
            if (token == Eos)
            {
                add(output, sum + next[token], output.Length + 1);
            }
            else
            {
                Enumerate(model, prompt, [.. output, token], sum + next[token], longest, add);
            }
        }
    }

    static List<(int[] Tokens, double Score)> Plain(TextModel model, int[] prompt, BeamOptions options)
    {
        var finished = new List<(int[] Tokens, double Score)>();
        void Finish(int[] tokens, double sum, int length)
        {
            finished.Add((tokens, sum / Math.Pow(length, options.LengthPenalty)));
            if (finished.Count > options.Beams)
            {
                finished.Remove(finished.MinBy(output => output.Score));
            }
        }

        Chain processors = options.Generation.Sampling.CreateProcessors(prompt.Length);
        List<(int[] Tokens, double Sum)> beams = [([], 0)];
        for (int length = 1; ; length++)
        {
            (int[] Parent, int Token, double Sum)[] ranked = [.. beams.SelectMany(beam =>
            {
                float[] scores = LogProbabilities(model, [.. prompt, .. beam.Tokens]);
                processors.Apply([.. prompt, .. beam.Tokens], scores);
                return scores.Select((score, token) => (beam.Tokens, token, beam.Sum + score));
            }).OrderByDescending(candidate => candidate.Item3).Take(2 * options.Beams)];
            beams = [];
            for (int rank = 0; rank < ranked.Length && beams.Count < options.Beams; rank++)
            {
                (int[] parent, int token, double sum) = ranked[rank];
                if (token != Eos)
                {
                    beams.Add(([.. parent, token], sum));
                }
                else if (rank < options.Beams)
                {
                    Finish(parent, sum, length);
                }
            }

            double attainable = ranked[0].Sum / Math.Pow(length, options.LengthPenalty);
            if (finished.Count >= options.Beams && (options.EarlyStopping || finished.Min(output => output.Score) >= attainable))
            {
                break;
            }

            if (length == options.Generation.MaxTokens)
            {
                beams.ForEach(beam => Finish(beam.Tokens, beam.Sum, length));
                break;
            }
        }

        return [.. finished.OrderByDescending(output => output.Score)];
    }
}
