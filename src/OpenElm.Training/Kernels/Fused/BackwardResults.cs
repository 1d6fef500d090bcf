using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>
/// Who owns a gradient that a custom function returns. libtorch takes a reference of its own when the function has
/// returned, so the managed one is kept until the next function on the same thread returns, not until some scope or the
/// finaliser ends: otherwise the gradients of all activations would live until the end of the step.
/// </summary>
internal static class BackwardResults
{
    [ThreadStatic]
    static Tensor?[]? _previous;

    /// <summary>Returns gradients from a backward function.</summary>
    /// <param name="gradients">One for each argument of the forward function; null for those without.</param>
    /// <returns>The list TorchSharp wants.</returns>
    public static List<Tensor> Return(params Tensor?[] gradients)
    {
        foreach (Tensor? tensor in _previous ?? [])
        {
            tensor?.Dispose();
        }

        foreach (Tensor? tensor in gradients)
        {
            tensor?.DetachFromDisposeScope();
        }

        _previous = gradients;
        return [.. gradients.Select(tensor => tensor!)];
    }
}
