using static TorchSharp.torch;

namespace OpenElm.Training.Matrices;

/// <summary>
/// Where blocks become numbers, one matrix at a time: all matrices of a model share it, for fresh memory of this size costs a page fault every
/// 4 KiB. It is as large as the largest matrix so far.
/// </summary>
/// <param name="type">The type of products.</param>
/// <param name="device">Where the model is.</param>
internal sealed class NumbersBuffer(ScalarType type, Device device) : IDisposable
{
    Tensor? _numbers;

    /// <summary>Room for a matrix, in place of the one before.</summary>
    /// <param name="rows">Rows.</param>
    /// <param name="columns">Columns.</param>
    /// <returns>[rows, columns], whatever stood there.</returns>
    public Tensor Take(long rows, long columns)
    {
        if (_numbers is null || _numbers.numel() < rows * columns)
        {
            _numbers?.Dispose();
            _numbers = empty([rows * columns], type, device).DetachFromDisposeScope();
        }

        using Tensor numbers = _numbers.narrow(0, 0, rows * columns);
        return numbers.view(rows, columns);
    }

    /// <inheritdoc/>
    public void Dispose() => _numbers?.Dispose();
}
