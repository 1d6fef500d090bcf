using System.Diagnostics;

namespace OpenElm.Training;

/// <summary>How long each phase of a run took, in the order they ran.</summary>
internal sealed class PhaseTimings
{
    readonly Dictionary<string, TimeSpan> _byPhase = [];

    /// <summary>The phases that ended.</summary>
    public IReadOnlyDictionary<string, TimeSpan> ByPhase => _byPhase;

    /// <summary>Runs a phase; one that throws is not counted.</summary>
    /// <typeparam name="T">What it gives.</typeparam>
    /// <param name="phase">Its name in the report.</param>
    /// <param name="action">The phase.</param>
    /// <returns>What the phase gave.</returns>
    public T Measure<T>(string phase, Func<T> action)
    {
        long start = Stopwatch.GetTimestamp();
        T result = action();
        _byPhase[phase] = Stopwatch.GetElapsedTime(start);
        return result;
    }

    /// <summary>Runs a phase that gives nothing.</summary>
    /// <param name="phase">Its name in the report.</param>
    /// <param name="action">The phase.</param>
    public void Measure(string phase, Action action) => Measure(phase, () =>
    {
        action();
        return true;
    });
}
