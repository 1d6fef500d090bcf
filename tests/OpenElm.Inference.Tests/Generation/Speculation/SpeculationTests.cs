using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests.Generation.Speculation;

/// <summary>Speculation changes the speed and nothing else.</summary>
public sealed class SpeculationTests
{
    const int Vocab = 61;

    // A draft that is the model itself, one that mostly agrees, an unrelated one, and one whose longest sequence is shorter.
    public static TheoryData<string> Drafts => ["same", "noisy", "other"];

    [Theory, MemberData(nameof(Drafts))]
    public void Greedy_output_with_a_draft_is_that_of_plain_decoding(string kind)
    {
        using TextModel model = TinyModels.Create(Vocab), draft = Draft(kind);
        using GenerationSession plain = model.CreateSession(), speculative = model.CreateSession(draft);
        SpeculationCounts counts = Compare(plain, speculative, prompts: 700, new GenerationOptions { MaxTokens = 40 });
        Assert.True(kind == "other" || counts.AcceptanceRate > 0.4, $"{kind}: {counts}");
        Assert.True(kind != "same" || counts.AcceptanceRate > 0.99, $"{kind}: {counts}"); // else bits differ between passes of one row and of several
    }

    [Fact]
    public void Greedy_output_with_prompt_lookup_is_that_of_plain_decoding()
    {
        using TextModel model = TinyModels.Create(Vocab);
        using GenerationSession plain = model.CreateSession(), speculative = model.CreateSession();
        SpeculationCounts counts = Compare(plain, speculative, prompts: 2000, new GenerationOptions { MaxTokens = 40 }, lookup: 10);
        Assert.True(counts.Accepted > 1000, $"{counts}");
    }

    [Fact]
    public void Penalties_are_respected_by_speculation()
    {
        using TextModel model = TinyModels.Create(Vocab), draft = Draft("noisy");
        using GenerationSession plain = model.CreateSession(), drafted = model.CreateSession(draft);
        var options = new GenerationOptions
        {
            MaxTokens = 30,
            IgnoreEos = true,
            Sampling = new SamplingOptions { RepetitionPenalty = 1.2, FrequencyPenalty = 0.3, PresencePenalty = 0.2 },
        };
        Compare(plain, drafted, prompts: 100, options);
        Compare(plain, plain, prompts: 100, options, lookup: 5);
    }

    [Fact]
    public void Sampled_output_with_prompt_lookup_is_that_of_the_same_seed()
    {
        using TextModel model = TinyModels.Create(Vocab);
        using GenerationSession plain = model.CreateSession(), speculative = model.CreateSession();
        for (int seed = 0; seed < 20; seed++)
        {
            Compare(plain, speculative, prompts: 20, new GenerationOptions { MaxTokens = 40, Sampling = new SamplingOptions { Temperature = 0.4, Seed = seed } }, lookup: 10);
        }
    }

    // Every sequence of three tokens has an exact probability; χ² over 30,000 outputs. Seeds are fixed, so the test never flickers.
    [Theory]
    [InlineData("none")]
    [InlineData("noisy")]
    [InlineData("other")]
    public void Sampled_output_with_a_draft_has_the_models_distribution(string kind)
    {
        const int SmallVocab = 6, Length = 3, Outputs = 30_000;
        using TextModel model = TinyModels.Create(SmallVocab, seed: 3);
        using TextModel? draft = kind switch { "none" => null, "noisy" => TinyModels.Create(SmallVocab, seed: 3, noise: 0.3), _ => TinyModels.Create(SmallVocab, seed: 4) };
        var sampling = new SamplingOptions { Temperature = 1.3, TopK = 5, FrequencyPenalty = 0.4 };
        int[] prompt = [1, 3, 4];
        double[] expected = new double[SmallVocab * SmallVocab * SmallVocab];
        Expect(model, sampling, prompt, [], 1, expected);
        Assert.Equal(1, expected.Sum(), 1e-6);

        int[] found = new int[expected.Length];
        var seeds = new Random(11);
        int accepted = 0;
        using (GenerationSession session = model.CreateSession(draft))
        {
            for (int i = 0; i < Outputs; i++)
            {
                GenerationRun run = session.Start(prompt, new GenerationOptions { MaxTokens = Length, IgnoreEos = true, Sampling = sampling with { Seed = seeds.Next() } });
                found[run.Tokens().Aggregate(0, (index, token) => (index * SmallVocab) + token)]++;
                accepted += run.Speculation.Accepted;
            }
        }

        Assert.Equal(0, Enumerable.Range(0, found.Length).Where(i => expected[i] == 0).Sum(i => found[i]));
        (double chiSquare, int degrees) = ChiSquare(expected, found, Outputs);
        Assert.InRange(chiSquare, 0, degrees + (4 * Math.Sqrt(2.0 * degrees))); // mean and deviation of χ²
        Assert.True(draft is null || accepted > Outputs / 5, $"{accepted} accepted"); // else the test proves little
    }

    [Fact]
    public void A_draft_of_another_vocabulary_is_refused()
    {
        using TextModel model = TinyModels.Create(Vocab), small = TinyModels.Create(Vocab - 1), padded = TinyModels.Create(Vocab, rows: Vocab + 3);
        Assert.Contains("same vocabulary", Assert.Throws<OpenElmException>(() => model.CreateSession(small)).Message);
        using GenerationSession session = model.CreateSession(padded); // rows that only pad do not matter
        Assert.NotEmpty(session.Start(new[] { 1 }, new GenerationOptions { IgnoreEos = true, MaxTokens = 9 }).Tokens());
        Assert.Contains("not from both", Assert.Throws<OpenElmException>(() => session.Start(new[] { 1 }, new GenerationOptions { PromptLookup = 3 })).Message);
        Assert.Contains("prompt_lookup is 99", Assert.Throws<OpenElmException>(() => new GenerationOptions { PromptLookup = 99 }.Validated()).Message);
    }

    [Fact]
    public void The_longest_sequence_ends_speculation_too()
    {
        using TextModel model = TinyModels.Create(Vocab);
        foreach (TextModel? draft in new[] { null, model })
        {
            using GenerationSession session = model.CreateSession(draft);
            GenerationRun run = session.Start(new[] { 1, 5, 9 }, new GenerationOptions { MaxTokens = 1000, IgnoreEos = true, PromptLookup = draft is null ? 10 : 0 });
            Assert.Equal(128 + 1 - 3, run.Tokens().Count());
            Assert.Equal(FinishReason.LengthLimit, run.FinishReason);
        }
    }

    [Theory]
    [InlineData(false, 0, false)]
    [InlineData(false, 0, true)]
    [InlineData(false, 10, true)]
    [InlineData(true, 0, false)]
    [InlineData(true, 0, true)]
    public void No_token_allocates(bool withDraft, int lookup, bool sampled)
    {
        using TextModel model = TinyModels.Create(Vocab), draft = Draft("noisy");
        using GenerationSession session = model.CreateSession(withDraft ? draft : null);
        long before = 0;
        int count = 0;
        foreach (int _ in session.Start(new[] { 1, 2, 3 }, new GenerationOptions
        {
            MaxTokens = 100,
            IgnoreEos = true,
            PromptLookup = lookup,
            Sampling = sampled ? new SamplingOptions { Temperature = 0.7, TopP = 0.9 } : new SamplingOptions(),
        }).Tokens())
        {
            before = ++count == 30 ? GC.GetAllocatedBytesForCurrentThread() : before;
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    static TextModel Draft(string kind) => kind switch
    {
        "same" => TinyModels.Create(Vocab),
        "noisy" => TinyModels.Create(Vocab, noise: 0.1),
        _ => TinyModels.Create(Vocab, seed: 2),
    };

    static SpeculationCounts Compare(GenerationSession plain, GenerationSession speculative, int prompts, GenerationOptions options, int lookup = 0)
    {
        var random = new Random(prompts);
        SpeculationCounts total = default;
        for (int i = 0; i < prompts; i++)
        {
            int[] prompt = [.. Enumerable.Range(0, random.Next(1, 20)).Select(_ => random.Next(Vocab))];
            int[] expected = [.. plain.Start(prompt, options).Tokens()];
            GenerationRun run = speculative.Start(prompt, options with { PromptLookup = lookup });
            Assert.Equal(expected, run.Tokens());
            SpeculationCounts counts = run.Speculation;
            total = new(total.Passes + counts.Passes, total.Proposed + counts.Proposed, total.Accepted + counts.Accepted);
        }

        Assert.InRange(total.Accepted, 1, total.Proposed);
        return total;
    }

    // The exact probability of every output, token by token through the model.
    static void Expect(TextModel model, SamplingOptions sampling, int[] prompt, int[] output, double probability, double[] expected)
    {
        int vocab = model.Candidates;
        if (Math.Pow(vocab, output.Length) >= expected.Length)
        {
            expected[output.Aggregate(0, (index, token) => (index * vocab) + token)] = probability;
            return;
        }

        float[] logits = new float[vocab];
        int[] tokens = [.. prompt, .. output];
        model.Model.ComputeLogits(tokens, tokens.Length - 1, logits);
        sampling.CreateProcessors(prompt.Length).Apply(tokens, logits);
        for (int token = 0; token < vocab; token++)
        {
            Expect(model, sampling, prompt, [.. output, token], probability * Math.Exp(LogSoftmax.Of(logits, token)), expected);
        }
    }

    static (double ChiSquare, int Degrees) ChiSquare(double[] expected, int[] found, int outputs)
    {
        double sum = 0, restExpected = 0;
        int cells = 0, restFound = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (expected[i] * outputs >= 5)
            {
                sum += Math.Pow(found[i] - (expected[i] * outputs), 2) / (expected[i] * outputs);
                cells++;
            }
            else
            {
                restExpected += expected[i] * outputs;
                restFound += found[i];
            }
        }

        return restExpected < 5 ? (sum, cells - 1) : (sum + (Math.Pow(restFound - restExpected, 2) / restExpected), cells);
    }
}
