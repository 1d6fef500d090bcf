using OpenElm.Data;

namespace OpenElm.Training.Tests.Baselines;

public sealed class BigramModelTests
{
    const int Pad = 9;

    [Fact]
    public void Probabilities_sum_to_one_after_every_context()
    {
        BigramModel model = Learned();
        for (int token = 0; token < 5; token++)
        {
            Assert.Equal(1.0, Enumerable.Range(0, 5).Sum(next => Math.Exp(model.LogProbability(token, next))), 1e-12);
        }
    }

    // By hand: pairs (0→1) twice, (1→0) once, (1→2) once; 4 tokens, vocabulary 5, discount 0.75.
    // P(1|0) = (2 − 0.75 + 0.75·1·(2+1)/(4+5)) / 2; P(3|0) = 0.75·1·(0+1)/9 / 2; P(3|4) backs off: 1/9.
    [Fact]
    public void Probabilities_are_those_of_absolute_discounting()
    {
        BigramModel model = Learned();
        Assert.Equal((1.25 + (0.75 * 3 / 9)) / 2, Math.Exp(model.LogProbability(0, 1)), 1e-12);
        Assert.Equal(0.75 / 9 / 2, Math.Exp(model.LogProbability(0, 3)), 1e-12);
        Assert.Equal(1.0 / 9, Math.Exp(model.LogProbability(4, 3)), 1e-12);
    }

    [Fact]
    public void Padding_is_neither_learned_nor_counted()
    {
        BigramModel model = Learned();
        Assert.Equal(4, model.Tokens);
        double expected = -(model.LogProbability(0, 1) + model.LogProbability(2, 4)) / 2;
        Assert.Equal(expected, model.Loss([Batch([0, 1, 2], [1, Pad, 4])], Pad), 1e-12);
    }

    static BigramModel Learned()
    {
        var model = new BigramModel(5);
        model.Learn(Batch([0, 1, 0, 1, 2], [1, 0, 1, 2, Pad]), Pad);
        return model;
    }

    static TokenBatch Batch(int[] inputs, int[] targets) => new(inputs, targets, 1, inputs.Length, 0, "test");
}
