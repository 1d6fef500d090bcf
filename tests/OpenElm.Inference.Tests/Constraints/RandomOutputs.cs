using System.Numerics.Tensors;
using OpenElm.Inference.Constraints;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Tests.Constraints;

/// <summary>Writes outputs of a constraint as a model with random logits would, with the tokenizer of stories260K.</summary>
internal static class RandomOutputs
{
    public static SentencePieceTokenizer Tokenizer { get; } = SentencePieceTokenizer.Load(Path.Combine(TestModels.StoriesFolder, "tokenizer.model"));

    static readonly ConstrainedVocabulary Vocabulary = new(Tokenizer, Tokenizer.PieceCount, Tokenizer.EosId);

    public static TokenMasks Masks(OutputConstraint constraint) => new(constraint.Nfa, Vocabulary);

    /// <summary>Outputs that ended by themselves.</summary>
    public static IEnumerable<string> Of(OutputConstraint constraint, int count, bool afterPrompt, int seed = 1)
    {
        TokenMasks masks = Masks(constraint);
        var random = new Random(seed);
        for (int i = 0; i < count; i++)
        {
            yield return One(masks, random, afterPrompt);
        }
    }

    static string One(TokenMasks masks, Random random, bool afterPrompt)
    {
        var walk = new ConstraintWalk(masks, atStart: !afterPrompt);
        StreamingDecoder decoder = Tokenizer.CreateDecoder();
        decoder.Append(Tokenizer.BosId);
        if (afterPrompt)
        {
            decoder.Append(Tokenizer.IdOf("a")!.Value);
        }

        string text = "";
        float[] logits = new float[Tokenizer.PieceCount];
        double eagerness = random.NextDouble(); // to end
        for (int step = 0; !walk.IsComplete; step++)
        {
            Assert.True(step < 3000, $"no end in sight after {text}");
            for (int id = 0; id < logits.Length; id++)
            {
                logits[id] = (random.NextSingle() * 10) + (float)(Ends(id) ? eagerness * step : 0);
            }

            walk.Mask(logits);
            int token = TensorPrimitives.IndexOfMax<float>(logits);
            Assert.True(float.IsFinite(logits[token]), $"a dead end after {text}");
            if (token == Tokenizer.EosId)
            {
                break;
            }

            walk.Advance(token);
            text += decoder.Append(token);
        }

        return text + decoder.Flush();
    }

    static bool Ends(int id) => id == Tokenizer.EosId || Tokenizer.PieceOf(id) is "\"" or "]" or "}" or "<0x22>" or "<0x5D>" or "<0x7D>";
}
