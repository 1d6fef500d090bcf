using System.Text.Json;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Generation.Beams;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests.Constraints;

/// <summary>Constraints in all kinds of generation, with a real model.</summary>
public sealed class ConstrainedGenerationTests : IDisposable
{
    readonly TextModel _stories = TextModel.Load(TestModels.StoriesFolder);

    static readonly OutputConstraint Names = OutputConstraint.Regex("[A-Z][a-z]{2,8}( and [A-Z][a-z]{2,8}){0,2}");

    static readonly OutputConstraint Person = OutputConstraint.JsonSchema(
        """{"type":"object","properties":{"name":{"type":"string","maxLength":12},"tall":{"type":"boolean"}},"required":["name","tall"]}""");

    public void Dispose() => _stories.Dispose();

    [Theory]
    [InlineData("")]
    [InlineData("Her name was ")]
    [InlineData("Once upon a time")]
    public void Outputs_match_however_they_are_chosen(string prompt)
    {
        using GenerationSession session = _stories.CreateSession();
        for (int seed = 0; seed < 40; seed++)
        {
            var options = new GenerationOptions { MaxTokens = 200, Constraint = Names, Sampling = new SamplingOptions { Temperature = seed % 4 * 0.7, Seed = seed, RepetitionPenalty = 1.1 } };
            GenerationRun run = session.Start(prompt, options);
            string text = string.Concat(run.Text());
            Assert.Matches(@"^[A-Z][a-z]{2,8}( and [A-Z][a-z]{2,8}){0,2}\z", text);
            Assert.True(run.FinishReason is FinishReason.EndOfSequence or FinishReason.Complete, $"{run.FinishReason}");
            run = session.Start(prompt, options with { Constraint = Person });
            using JsonDocument document = JsonDocument.Parse(string.Concat(run.Text()));
            Assert.Equal(2, document.RootElement.EnumerateObject().Count());
            Assert.Equal(FinishReason.Complete, run.FinishReason); // a brace closes it, nothing may follow
        }
    }

    [Fact]
    public void Speculation_keeps_to_the_constraint_and_the_output()
    {
        using GenerationSession plain = _stories.CreateSession(), drafted = _stories.CreateSession(_stories);
        foreach (OutputConstraint constraint in new[] { Names, Person })
        {
            var options = new GenerationOptions { MaxTokens = 200, Constraint = constraint };
            string expected = string.Concat(plain.Start("She said", options).Text());
            Assert.Equal(expected, string.Concat(drafted.Start("She said", options).Text()));
            Assert.Equal(expected, string.Concat(plain.Start("She said", options with { PromptLookup = 8 }).Text()));
            GenerationRun sampled = drafted.Start("She said", options with { Constraint = Person, Sampling = new SamplingOptions { Temperature = 1, Seed = 3 } });
            JsonDocument.Parse(string.Concat(sampled.Text())).Dispose();
            Assert.InRange(sampled.Speculation.Accepted, 1, sampled.Speculation.Proposed);
        }
    }

    [Fact]
    public void Beams_keep_to_the_constraint()
    {
        IReadOnlyList<BeamOutput> outputs = BeamSearch.Run(_stories, "She said", new BeamOptions { Generation = new GenerationOptions { MaxTokens = 100, Constraint = Person } });
        int[] prompt = _stories.EncodePrompt("She said");
        foreach (BeamOutput output in outputs.Where(output => output.FinishReason == FinishReason.EndOfSequence))
        {
            string text = _stories.Tokenizer!.Decode([.. prompt, .. output.Tokens.Span])["She said".Length..];
            JsonDocument.Parse(text).Dispose();
        }

        Assert.Contains(outputs, output => output.FinishReason == FinishReason.EndOfSequence);
    }

    [Fact]
    public void A_constraint_is_shared_by_threads()
    {
        string[] texts = [.. Enumerable.Range(0, 16).AsParallel().Select(seed => string.Concat(_stories.GenerateText(
            "She said", new GenerationOptions { MaxTokens = 200, Constraint = Person, Sampling = new SamplingOptions { Temperature = 1, Seed = seed } })))];
        Assert.All(texts, text => JsonDocument.Parse(text).Dispose());
    }

    [Fact]
    public void The_empty_text_is_an_output_too()
    {
        using GenerationSession session = _stories.CreateSession();
        GenerationRun run = session.Start("a", new GenerationOptions { Constraint = OutputConstraint.Regex("") });
        Assert.Empty(run.Text());
        Assert.Equal(FinishReason.Complete, run.FinishReason);
    }

    [Fact]
    public void Once_a_state_is_known_no_token_allocates()
    {
        using GenerationSession session = _stories.CreateSession();
        var options = new GenerationOptions { MaxTokens = 100, Constraint = OutputConstraint.Regex("[a-z ]*"), Sampling = new SamplingOptions { LogitBias = System.Collections.Immutable.ImmutableDictionary<int, double>.Empty.Add(_stories.EosId, -100) } };
        Assert.Equal(100, session.Start("a", options).Tokens().Count());
        long before = 0;
        int count = 0;
        foreach (int _ in session.Start("a", options).Tokens())
        {
            before = ++count == 30 ? GC.GetAllocatedBytesForCurrentThread() : before;
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void What_does_not_go_together_is_named()
    {
        Assert.Contains("leave out stop texts", Assert.Throws<OpenElmException>(() => new GenerationOptions { Constraint = Names, Stop = ["x"] }.Validated()).Message);
        Assert.Contains("leave out stop texts", Assert.Throws<OpenElmException>(() => new GenerationOptions { Constraint = Names, IgnoreEos = true }.Validated()).Message);
        using OpenElmModel model = TestModels.Stories();
        using var bare = TextModel.Of(model, null);
        Assert.Contains("needs a tokenizer", Assert.Throws<OpenElmException>(() => bare.Generate(new[] { 1 }, new GenerationOptions { Constraint = Names })).Message);
    }
}
