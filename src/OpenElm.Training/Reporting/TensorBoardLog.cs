using System.Collections.Immutable;

namespace OpenElm.Training.Reporting;

/// <summary>Writes a run's numbers where TensorBoard finds them. Each process of a run writes a file of its own.</summary>
public sealed class TensorBoardLog : IRunObserver, IDisposable
{
    readonly TensorBoardEvents _events;

    /// <summary>Begins an event file.</summary>
    /// <param name="folder">The folder that TensorBoard is given; it is created.</param>
    /// <param name="time">The clock.</param>
    public TensorBoardLog(string folder, TimeProvider time)
    {
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, $"events.out.tfevents.{time.GetUtcNow().ToUnixTimeSeconds()}.{Environment.ProcessId}.openelm");
        _events = new TensorBoardEvents(new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0), time);
    }

    /// <inheritdoc/>
    public void OnStep(StepMetrics step) => _events.WriteScalars(
        step.Step,
        [
            ("train/loss", step.Loss), .. Named("train/", step.Measured), ("train/learning_rate", step.LearningRate), ("train/gradient_norm", step.GradientNorm),
            ("speed/tokens_per_second", step.TokensPerSecond), ("speed/data_wait_share", step.DataWaitShare), ("speed/utilisation", step.Utilisation),
            ("progress/tokens_seen", step.TokensSeen),
        ]);

    /// <inheritdoc/>
    public void OnValidation(ValidationMetrics validation) => _events.WriteScalars(
        validation.Step,
        [
            ("validation/loss", validation.Loss), ("validation/perplexity", validation.Perplexity ?? double.NaN), ("validation/bits_per_byte", validation.BitsPerByte ?? double.NaN),
            .. Named("validation/", validation.Measured),
        ]);

    static IEnumerable<(string, double)> Named(string prefix, ImmutableArray<MeasuredValue> measured) => measured.Select(entry => (prefix + entry.Name, entry.Value));

    /// <inheritdoc/>
    public void Dispose() => _events.Dispose();
}
