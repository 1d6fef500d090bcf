using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>libtorch's kernels of attention, by its own numbers (<c>at::SDPBackend</c>).</summary>
internal enum AttentionBackend
{
    Math = 0,
    Flash = 1,
    MemoryEfficient = 2,
    Cudnn = 3,
}

/// <summary>What a forward pass of attention leaves for its backward pass. Tensors of libtorch that are none stay none on their way back.</summary>
/// <param name="Output">What attention gave.</param>
/// <param name="LogSumExp">Logarithms of the sums of exponentials.</param>
/// <param name="QueryStarts">Where sequences begin, if they have several lengths.</param>
/// <param name="KeyStarts">The same for keys.</param>
/// <param name="LongestQuery">The longest sequence.</param>
/// <param name="LongestKey">The same for keys.</param>
/// <param name="Seed">Of dropout, of which there is none.</param>
/// <param name="Offset">Likewise.</param>
/// <param name="Mask">For debugging.</param>
internal sealed record AttentionResult(
    Tensor Output, Tensor LogSumExp, Tensor QueryStarts, Tensor KeyStarts, long LongestQuery, long LongestKey, Tensor Seed, Tensor Offset, Tensor Mask) : IDisposable
{
    /// <summary>Takes the tensors out of the current scope.</summary>
    /// <returns>This.</returns>
    public AttentionResult Keep()
    {
        foreach (Tensor tensor in All)
        {
            tensor.DetachFromDisposeScope();
        }

        return this;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor tensor in All)
        {
            tensor.Dispose();
        }
    }

    Tensor[] All => [Output, LogSumExp, QueryStarts, KeyStarts, Seed, Offset, Mask];
}
