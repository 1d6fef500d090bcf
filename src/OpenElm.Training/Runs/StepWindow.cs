using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// Gathers what updates measured until somebody looks. On the CPU every loss is looked at at once; on a GPU reading waits for
/// the device, so sums stay there until the window is read, and a loss that is not finite shows in the sum.
/// </summary>
internal sealed class StepWindow(bool readEveryStep) : IDisposable
{
    Tensor[]? _sums;
    StepResult? _last;

    /// <summary>Token positions since the last reading.</summary>
    public long Positions { get; private set; }

    /// <summary>Updates since the last reading.</summary>
    public int Updates { get; private set; }

    /// <summary>Takes an update's result over.</summary>
    /// <param name="result">The result, disposed by this window.</param>
    /// <returns>Whether the measurements so far are known to be not finite.</returns>
    public bool Add(StepResult result)
    {
        _last?.Dispose();
        _last = result;
        _sums = _sums is null
            ? [.. result.Measured.Select(value => value.clone().DetachFromDisposeScope())]
            : [.. _sums.Zip(result.Measured, (sum, value) => sum.add_(value))];
        Positions += result.Positions;
        Updates++;
        return readEveryStep && !result.Measured.All(value => float.IsFinite(value.item<float>()));
    }

    /// <summary>Reads the means since the last reading and starts anew.</summary>
    /// <returns>Means of what was measured, and the gradient norm of the last update; null if there was none.</returns>
    public (double[] Measured, double GradientNorm)? Read()
    {
        if (_last is null)
        {
            return null;
        }

        double[] means = [.. _sums!.Select(sum => sum.item<float>() / (double)Updates)];
        double norm = _last.GradientNorm.item<float>();
        Reset();
        return (means, norm);
    }

    /// <inheritdoc/>
    public void Dispose() => Reset();

    void Reset()
    {
        foreach (Tensor sum in _sums ?? [])
        {
            sum.Dispose();
        }

        _last?.Dispose();
        (_sums, _last, Updates, Positions) = (null, null, 0, 0);
    }
}
