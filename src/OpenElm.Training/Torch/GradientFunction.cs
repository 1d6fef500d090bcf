using System.Runtime.ExceptionServices;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>
/// A function of this project in autograd's graph, with one result. libtorch calls its backward function, and an exception cannot pass through libtorch: it would end the process without a word.
/// So it is kept, and <see cref="BackwardPass"/> throws it where the pass was started.
/// </summary>
/// <typeparam name="T">The function.</typeparam>
internal abstract class GradientFunction<T> : autograd.SingleTensorFunction<T>
    where T : GradientFunction<T>, new()
{
    /// <inheritdoc/>
    public sealed override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
    {
        BackwardPass.Prepare(ctx, vars);
        return Result(ctx, vars);
    }

    /// <inheritdoc/>
    public sealed override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
        BackwardPass.Guard(ctx, static call => call.Function.Gradients(call.Context, call.Gradient), (Function: this, Context: ctx, Gradient: grad_output));

    /// <summary>The function.</summary>
    /// <param name="ctx">Keeps what the backward function needs.</param>
    /// <param name="vars">Its arguments.</param>
    protected abstract Tensor Result(autograd.AutogradContext ctx, object[] vars);

    /// <summary>The backward function.</summary>
    /// <param name="ctx">What was kept.</param>
    /// <param name="outputGradient">Of the result.</param>
    /// <returns>One for each argument; null for those without.</returns>
    protected abstract List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient);
}

/// <summary>The same with several results.</summary>
/// <typeparam name="T">The function.</typeparam>
internal abstract class GradientsFunction<T> : autograd.MultiTensorFunction<T>
    where T : GradientsFunction<T>, new()
{
    /// <inheritdoc/>
    public sealed override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
    {
        BackwardPass.Prepare(ctx, vars);
        return Results(ctx, vars);
    }

    /// <inheritdoc/>
    public sealed override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) =>
        BackwardPass.Guard(ctx, static call => call.Function.Gradients(call.Context, call.Gradients), (Function: this, Context: ctx, Gradients: grad_outputs));

    /// <summary>The function.</summary>
    /// <param name="ctx">Keeps what the backward function needs.</param>
    /// <param name="vars">Its arguments.</param>
    protected abstract List<Tensor> Results(autograd.AutogradContext ctx, object[] vars);

    /// <summary>The backward function.</summary>
    /// <param name="ctx">What was kept.</param>
    /// <param name="outputGradients">Of the results.</param>
    /// <returns>One for each argument; null for those without.</returns>
    protected abstract List<Tensor> Gradients(autograd.AutogradContext ctx, List<Tensor> outputGradients);
}

/// <summary>Backward passes through functions of this project.</summary>
internal static class BackwardPass
{
    const string Arguments = "arguments";

    static Exception? _failure; // of whichever thread libtorch called a function on

    /// <summary>Differentiates.</summary>
    /// <param name="loss">A scalar.</param>
    /// <exception cref="Exception">What a function of this project, or libtorch, has thrown.</exception>
    public static void Run(Tensor loss)
    {
        _ = Interlocked.Exchange(ref _failure, null);
        try
        {
            loss.backward();
        }
        finally
        {
            if (Interlocked.Exchange(ref _failure, null) is { } first)
            {
                ExceptionDispatchInfo.Throw(first); // and not what libtorch made of it
            }
        }
    }

    /// <summary>Notes how many gradients libtorch will expect, and that a result without one is passed on as such: TorchSharp cannot put zeros in its place.</summary>
    public static void Prepare(autograd.AutogradContext context, object[] arguments)
    {
        context.set_materialize_grads(false);
        context.save_data(Arguments, arguments.Length);
    }

    /// <summary>Keeps what a backward function throws. What is left of the pass then has no gradients and calls none of these functions, so no rank exchanges half a gradient.</summary>
    public static List<Tensor> Guard<TCall>(autograd.AutogradContext context, Func<TCall, List<Tensor>> function, TCall call)
    {
#pragma warning disable CA1031 // Run throws it again
        try
        {
            if (Volatile.Read(ref _failure) is null)
            {
                return function(call);
            }
        }
        catch (Exception failure)
        {
            _ = Interlocked.CompareExchange(ref _failure, failure, null);
        }
#pragma warning restore CA1031
        return [.. Enumerable.Repeat<Tensor>(null!, (int)context.get_data(Arguments))];
    }
}
