using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// Gathers what updates measured until somebody looks. On the CPU every loss is looked at at once; on a GPU reading waits for
/// the device, so sums stay there until the window is read, and a loss that is not finite shows in the sum.
/// </summary>
internal sealed class StepWindow(bool readEveryStep) : IDisposable
{
    Tensor? _crossEntropy;
    Tensor? _zLoss;
    StepResult? _last;
    int _updates;

    /// <summary>Token positions since the last reading.</summary>
    public long Positions { get; private set; }

    /// <summary>Takes an update's result over.</summary>
    /// <param name="result">The result, disposed by this window.</param>
    /// <returns>Whether the losses so far are known to be not finite.</returns>
    public bool Add(StepResult result)
    {
        _last?.Dispose();
        _last = result;
        _crossEntropy = Sum(_crossEntropy, result.CrossEntropy);
        _zLoss = Sum(_zLoss, result.ZLoss);
        Positions += result.Positions;
        _updates++;
        return readEveryStep && !(float.IsFinite(result.CrossEntropy.item<float>()) && float.IsFinite(result.ZLoss.item<float>()));
    }

    /// <summary>Reads the means since the last reading and starts anew.</summary>
    /// <returns>Mean losses, and the gradient norm of the last update; null if there was none.</returns>
    public (double CrossEntropy, double ZLoss, double GradientNorm)? Read()
    {
        if (_last is null)
        {
            return null;
        }

        var means = (_crossEntropy!.item<float>() / (double)_updates, _zLoss!.item<float>() / (double)_updates, (double)_last.GradientNorm.item<float>());
        Reset();
        return means;
    }

    /// <inheritdoc/>
    public void Dispose() => Reset();

    static Tensor Sum(Tensor? sum, Tensor value) => sum is null ? value.clone().DetachFromDisposeScope() : sum.add_(value);

    void Reset()
    {
        _crossEntropy?.Dispose();
        _zLoss?.Dispose();
        _last?.Dispose();
        (_crossEntropy, _zLoss, _last, _updates, Positions) = (null, null, null, 0, 0);
    }
}
