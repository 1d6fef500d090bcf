using OpenElm.Distributed;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>
/// Gathers what updates measured until somebody looks. On the CPU every loss is looked at at once; on a GPU reading waits for
/// the device, so sums stay there until the window is read, and a loss that is not finite shows in the sum.
/// </summary>
/// <param name="readEveryStep">Whether to look at once.</param>
/// <param name="group">The ranks, whose measurements are added up where somebody looks; null for a process that is alone.</param>
internal sealed class StepWindow(bool readEveryStep, IProcessGroup? group = null) : IDisposable
{
    Tensor[]? _sums;
    StepResult? _last;

    /// <summary>Token positions since the last reading.</summary>
    public long Positions { get; private set; }

    /// <summary>Updates since the last reading.</summary>
    public int Updates { get; private set; }

    /// <summary>Where measurements were not finite, for a message: empty for a process that is alone, or " on rank 1 (host)".</summary>
    public string Culprits { get; private set; } = "";

    /// <summary>Takes an update's result over; all ranks call it at once.</summary>
    /// <param name="result">The result, disposed by this window.</param>
    /// <returns>Whether the measurements so far are known to be not finite.</returns>
    public bool Add(StepResult result)
    {
        _last?.Dispose();
        _last = result;
        _sums = _sums is null
            ? [.. result.Measured.Select(value => value.clone().DetachFromDisposeScope())]
            : [.. _sums.Zip(result.Measured, (sum, value) => sum.Add(value))];
        Positions += result.Positions;
        Updates++;
        return readEveryStep && !AreFinite([.. OfAllRanks(result.Measured)]);
    }

    /// <summary>Reads the means since the last reading and starts anew; all ranks call it at once.</summary>
    /// <returns>Means of what was measured, and the gradient norm of the last update; null if there was none.</returns>
    public (double[] Measured, double GradientNorm)? Read()
    {
        if (_last is null)
        {
            return null;
        }

        double[] means = [.. OfAllRanks(_sums!).Select(sum => sum / Updates)];
        double norm = _last.GradientNorm.item<float>();
        Reset();
        return (means, norm);
    }

    /// <inheritdoc/>
    public void Dispose() => Reset();

    // The ranks' parts add up to the mean.
    IEnumerable<double> OfAllRanks(IReadOnlyList<Tensor> measured)
    {
        double[] own = [.. measured.Select(value => (double)value.item<float>())];
        if (group is null)
        {
            return own;
        }

        double[] all = group.AllGather<double>(own);
        double[][] byRank = [.. all.Chunk(own.Length)];
        int[] bad = [.. Enumerable.Range(0, group.Size).Where(rank => !AreFinite(byRank[rank]))];
        Culprits = bad is [] ? " (of all ranks: the losses are finite, the gradients are not)" : $" on {string.Join(", ", bad.Select(rank => $"rank {rank} ({group.Hosts[rank]})"))}";
        return own.Select((_, i) => byRank.Sum(values => values[i]));
    }

    static bool AreFinite(double[] values) => values.All(double.IsFinite);

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
