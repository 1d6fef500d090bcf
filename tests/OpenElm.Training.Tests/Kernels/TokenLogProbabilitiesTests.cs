using OpenElm.Training.Kernels;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Kernels;

/// <summary>Log-probabilities of tokens without all logits, against libtorch's own differentiation of all logits.</summary>
public sealed class TokenLogProbabilitiesTests
{
    // 300,001 columns leave 16 rows to a chunk: 40 rows are two whole chunks and a part of one.
    [Theory]
    [InlineData(40, 300_001, 3, true, true)]
    [InlineData(17, 101, 36, true, true)]
    [InlineData(1, 7, 5, true, false)]
    [InlineData(5, 33, 4, false, true)]
    public void Values_and_gradients_are_those_of_the_specification(int rows, int vocab, int width, bool trainsHidden, bool trainsHead)
    {
        using var scope = NewDisposeScope();
        random.manual_seed(3);
        Tensor hidden = randn(rows, width), head = randn(vocab, width), targets = randint(vocab, [rows]), weights = randn(rows);

        (Tensor Value, Tensor? Hidden, Tensor? Head) Run(bool plain)
        {
            Tensor h = hidden.clone().requires_grad_(trainsHidden), w = head.clone().requires_grad_(trainsHead);
            Tensor value = plain
                ? TokenLogProbabilities.ComputePlain(h, w, targets, ScalarType.Float32)
                : TokenLogProbabilities.apply(h, w, targets, ScalarType.Float32);
            value.mul(weights).sum().backward();
            return (value, h.grad, w.grad);
        }

        (Tensor Value, Tensor? Hidden, Tensor? Head) expected = Run(plain: true), actual = Run(plain: false);
        TensorAssert.CloseNorm(expected.Value, actual.Value, 1e-6, "log-probabilities");
        Assert.Equal((trainsHidden, trainsHead), (actual.Hidden is not null, actual.Head is not null));
        if (trainsHidden)
        {
            TensorAssert.CloseNorm(expected.Hidden!, actual.Hidden!, 5e-6, "hidden");
        }

        if (trainsHead)
        {
            TensorAssert.CloseNorm(expected.Head!, actual.Head!, 2e-6, "head");
        }
    }

    [Fact]
    public void Products_in_bf16_stay_near()
    {
        using var scope = NewDisposeScope();
        random.manual_seed(4);
        Tensor hidden = randn(30, 64).to(ScalarType.BFloat16).to(ScalarType.Float32).requires_grad_(), head = randn(200, 64).to(ScalarType.BFloat16).to(ScalarType.Float32).mul(0.1).requires_grad_();
        Tensor targets = randint(200, [30]);
        Tensor expected = TokenLogProbabilities.ComputePlain(hidden, head, targets, ScalarType.Float32);
        Tensor actual = TokenLogProbabilities.apply(hidden, head, targets, ScalarType.BFloat16);
        TensorAssert.CloseNorm(expected, actual, 1e-2);
        Tensor[] wanted = [.. autograd.grad([expected.sum()], [hidden, head])], got = [.. autograd.grad([actual.sum()], [hidden, head])];
        TensorAssert.CloseNorm(wanted[0], got[0], 2e-2, "hidden");
        TensorAssert.CloseNorm(wanted[1], got[1], 2e-2, "head");
    }
}
