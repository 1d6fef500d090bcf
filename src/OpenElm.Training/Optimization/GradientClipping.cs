using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Optimization;

/// <summary>Clipping of all gradients by their common L2 norm, without waiting for the device.</summary>
public static class GradientClipping
{
    const double Smallest = 1e-6; // PyTorch adds it to the norm before dividing

    /// <summary>Scales all gradients so that their common norm is at most a bound.</summary>
    /// <param name="weights">The weights whose gradients are scaled in place; those without one are left out.</param>
    /// <param name="maxNorm">The bound; infinity only measures.</param>
    /// <returns>The norm before clipping, 0-dim single precision on the weights' device; to be disposed by the caller.</returns>
    public static Tensor ClipByGlobalNorm(IEnumerable<NamedWeight> weights, double maxNorm)
    {
        ArgumentNullException.ThrowIfNull(weights);
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor[] gradients = [.. weights.Select(weight => weight.Value.grad).OfType<Tensor>()];
        if (gradients is [])
        {
            return zeros([], ScalarType.Float32).MoveToOuterDisposeScope();
        }

        Tensor norm = linalg.vector_norm(stack(gradients.Select(NormOf)));
        if (double.IsFinite(maxNorm))
        {
            Tensor factor = Factor(norm, maxNorm);
            foreach (IGrouping<ScalarType, Tensor> sameType in gradients.GroupBy(gradient => gradient.dtype))
            {
                Dispatcher.ForeachMultiply([.. sameType], factor.to_type(sameType.Key));
            }
        }

        return norm.MoveToOuterDisposeScope();
    }

    /// <summary>What gradients of a norm are multiplied with.</summary>
    /// <param name="norm">[] the norm.</param>
    /// <param name="maxNorm">The bound.</param>
    /// <returns>[], at most 1; to be disposed.</returns>
    internal static Tensor Factor(Tensor norm, double maxNorm)
    {
        using DisposeScope scope = NewDisposeScope();
        return (Number(maxNorm) / norm.Plus(Number(Smallest))).clamp_max(One).MoveToOuterDisposeScope();
    }

    static Tensor NormOf(Tensor gradient)
    {
        using Tensor floats = gradient.to_type(ScalarType.Float32); // one at a time: all of them would be as large as the model
        return linalg.vector_norm(floats);
    }
}
