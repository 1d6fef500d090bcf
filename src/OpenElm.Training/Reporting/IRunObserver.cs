namespace OpenElm.Training.Reporting;

/// <summary>
/// Watches a training run: a progress line, a log file, a report. The trainer calls it from its own thread; every method
/// has an empty default, so an observer says only what it cares about.
/// </summary>
public interface IRunObserver
{
    /// <summary>The run begins, or goes on after a resume.</summary>
    /// <param name="run">What is about to happen.</param>
    void OnStart(RunInfo run)
    {
    }

    /// <summary>An update of the weights is done.</summary>
    /// <param name="step">Its numbers.</param>
    void OnStep(StepMetrics step)
    {
    }

    /// <summary>The model was measured on held-out text.</summary>
    /// <param name="validation">The result.</param>
    void OnValidation(ValidationMetrics validation)
    {
    }

    /// <summary>A checkpoint is on the disk, whole.</summary>
    /// <param name="checkpoint">Where.</param>
    void OnCheckpoint(CheckpointSaved checkpoint)
    {
    }

    /// <summary>The model wrote some text.</summary>
    /// <param name="sample">The text.</param>
    void OnSample(GeneratedSample sample)
    {
    }

    /// <summary>Something a person should read.</summary>
    /// <param name="message">One line.</param>
    void OnMessage(string message)
    {
    }

    /// <summary>The run is over; also called when it was stopped or failed.</summary>
    /// <param name="end">How it ended.</param>
    void OnEnd(RunEnd end)
    {
    }
}

/// <summary>Several observers as one, told in order.</summary>
/// <param name="observers">The observers.</param>
public sealed class RunObservers(params IReadOnlyList<IRunObserver> observers) : IRunObserver
{
    /// <inheritdoc/>
    public void OnStart(RunInfo run) => Each(o => o.OnStart(run));

    /// <inheritdoc/>
    public void OnStep(StepMetrics step) => Each(o => o.OnStep(step));

    /// <inheritdoc/>
    public void OnValidation(ValidationMetrics validation) => Each(o => o.OnValidation(validation));

    /// <inheritdoc/>
    public void OnCheckpoint(CheckpointSaved checkpoint) => Each(o => o.OnCheckpoint(checkpoint));

    /// <inheritdoc/>
    public void OnSample(GeneratedSample sample) => Each(o => o.OnSample(sample));

    /// <inheritdoc/>
    public void OnMessage(string message) => Each(o => o.OnMessage(message));

    /// <inheritdoc/>
    public void OnEnd(RunEnd end) => Each(o => o.OnEnd(end));

    void Each(Action<IRunObserver> tell)
    {
        foreach (IRunObserver observer in observers)
        {
            tell(observer);
        }
    }
}
