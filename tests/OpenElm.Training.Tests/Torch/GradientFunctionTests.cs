using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Torch;

/// <summary>What a backward function throws comes out where the pass was started, through libtorch, and nothing behind it is called.</summary>
[Collection(nameof(ProcessWide))]
public sealed class GradientFunctionTests
{
    [Fact]
    public void What_a_backward_function_throws_ends_the_pass_and_the_next_one_works()
    {
        TorchLibrary.EnsureLoaded();
        using DisposeScope scope = NewDisposeScope();
        Tensor x = ones(3).requires_grad_(true), between = Times.Of(x, 2), loss = Times.Of(between.exp(), 3, fails: true).sum();
        Times.Calls = 0;
        Assert.Equal("a function that fails", Assert.Throws<InvalidOperationException>(() => BackwardPass.Run(loss)).Message);
        Assert.Equal(1, Times.Calls); // the function in front of it was not called
        Assert.Null(x.grad);

        BackwardPass.Run(Times.Of(Times.Of(x, 2), 3).sum());
        Assert.Equal([6f, 6f, 6f], x.grad!.data<float>().ToArray());
    }

    [Fact]
    public void What_libtorch_throws_comes_out_too()
    {
        TorchLibrary.EnsureLoaded();
        using DisposeScope scope = NewDisposeScope();
        Tensor x = ones(3).requires_grad_(true);
        Assert.ThrowsAny<Exception>(() => BackwardPass.Run(Times.Of(x, 2))); // no scalar
    }

    // x · factor
    sealed class Times : GradientFunction<Times>
    {
        public static int Calls { get; set; }

        public override string Name => nameof(Times);

        public static Tensor Of(Tensor x, double factor, bool fails = false) => apply(x, factor, fails);

        protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
        {
            ctx.save_data("factor", vars[1]);
            ctx.save_data("fails", vars[2]);
            return ((Tensor)vars[0]) * (double)vars[1];
        }

        protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
        {
            Calls++;
            return (bool)ctx.get_data("fails") ? throw new InvalidOperationException("a function that fails") : [outputGradient * (double)ctx.get_data("factor"), null!, null!];
        }
    }
}
