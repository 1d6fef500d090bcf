using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Torch;

public sealed class DispatcherTests
{
    [Theory]
    [InlineData(4, 4, null)]
    [InlineData(6, 2, null)]
    [InlineData(3, 1, 0.7)]
    public void Attention_with_groups_and_scale(int queryHeads, int kvHeads, double? scale)
    {
        using var scope = NewDisposeScope();
        Tensor q = randn(2, queryHeads, 9, 8, requires_grad: true), k = randn(2, kvHeads, 9, 8, requires_grad: true), v = randn(2, kvHeads, 9, 8, requires_grad: true);

        Tensor y = Dispatcher.Attention(q, k, v, causal: true, scale);
        Tensor scores = matmul(q, k.repeat_interleave(queryHeads / kvHeads, 1).transpose(2, 3)) * (scale ?? 1 / Math.Sqrt(8));
        Tensor expected = matmul(scores.masked_fill(ones(9, 9).triu(1).to_type(ScalarType.Bool), double.NegativeInfinity).softmax(-1), v.repeat_interleave(queryHeads / kvHeads, 1));

        TensorAssert.Close(expected, y, 1e-5, 1e-5, "y");
        y.sum().backward();
        Assert.NotNull(k.grad);
    }

    [Fact]
    public void RmsNorm_and_its_gradient()
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(5, 12, requires_grad: true), weight = randn(12, requires_grad: true);

        Tensor y = Dispatcher.RmsNorm(x, weight, 1e-3);
        y.sum().backward();

        TensorAssert.Close(x * rsqrt(x.square().mean([-1], keepdim: true) + 1e-3) * weight, y, 1e-5, 1e-6, "y");
        Assert.NotNull(weight.grad);
    }

    [Fact]
    public void Products_and_factors_in_place()
    {
        using var scope = NewDisposeScope();
        Tensor a = randn(3, 4), b = randn(4, 5), c = zeros(3, 5), d = ones(2);

        Dispatcher.MatMul(a, b, c);
        TensorAssert.Close(mm(a, b), c, 1e-6, 1e-6, "c");
        Dispatcher.ForeachMultiply([c, d], tensor(3f));

        TensorAssert.Close(mm(a, b) * 3, c, 1e-6, 1e-6, "c");
        TensorAssert.Close(tensor(new float[] { 3, 3 }), d, 0, 0, "d");
    }

    [Fact]
    public void Pointers_include_the_offset_of_a_view()
    {
        using var scope = NewDisposeScope();
        Tensor x = zeros(10);

        Assert.Equal(Dispatcher.DataPointer(x) + 12, Dispatcher.DataPointer(x[3..]));
    }

    [Fact]
    public void Calls_leave_no_tensors_behind()
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(64, 64), y = empty(64, 64);
        long before = Tensor.TotalCount;
        for (int i = 0; i < 100; i++)
        {
            Dispatcher.MatMul(x, x, y);
            Dispatcher.ForeachMultiply([y], x[0, 0]);
            Dispatcher.RmsNorm(x, x[0], 1e-6).Dispose();
        }

        Assert.InRange(Tensor.TotalCount - before, long.MinValue, 250); // the views made above, until their scope ends; 300 more would be a leak
    }

    [Fact]
    public void A_failing_operator_is_an_exception()
    {
        using var scope = NewDisposeScope();
        Assert.Contains("aten::mm", Assert.Throws<InvalidOperationException>(() => Dispatcher.MatMul(zeros(2, 3), zeros(2, 3), zeros(2, 3))).Message);
    }
}
