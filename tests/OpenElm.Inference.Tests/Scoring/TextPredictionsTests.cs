using System.Numerics.Tensors;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests.Scoring;

public sealed class TextPredictionsTests
{
    [Fact]
    public void The_likeliest_tokens_are_those_of_the_logits_in_every_window()
    {
        using OpenElmModel model = TestModels.Random(TestModels.Layerwise);
        int vocab = model.Config.VocabSize;
        int[] tokens = TestModels.Tokens(50, vocab);
        var meter = new PerplexityMeter(model, null, window: 20, stride: 10);
        TextPredictions predictions = meter.Predict(tokens);

        Assert.Equal(meter.MeasureTokens(tokens), predictions.Perplexity);
        Assert.Equal(tokens.Length, predictions.Likeliest.Length);
        float[] logits = new float[vocab];
        for (int i = 0; i < tokens.Length; i++)
        {
            int end = i < 20 ? 20 : 20 + ((((i - 20) / 10) + 1) * 10); // the window that scores i
            int[] seen = [model.Config.BosTokenId, .. tokens[Math.Max(0, end - 20)..i]];
            model.ComputeLogits(seen, seen.Length - 1, logits);
            Assert.Equal(TensorPrimitives.IndexOfMax(logits.AsSpan()), predictions.Likeliest[i]);
        }
    }

    [Fact]
    public void Agreement_counts_equal_places()
    {
        var a = new TextPredictions(default, [1, 2, 3, 4]);

        Assert.Equal(1, a.AgreementWith(a));
        Assert.Equal(0.75, a.AgreementWith(new TextPredictions(default, [1, 2, 9, 4])));
        Assert.Throws<ArgumentException>(() => a.AgreementWith(new TextPredictions(default, [1])));
    }
}
