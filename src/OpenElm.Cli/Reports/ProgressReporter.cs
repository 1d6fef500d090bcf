using System.Collections.Immutable;
using System.Globalization;
using OpenElm.Training.Reporting;
using Spectre.Console;

namespace OpenElm.Cli;

/// <summary>
/// Shows a run on standard error: on a terminal one line that is redrawn, and lines above it for what should stay;
/// elsewhere a plain line every few steps.
/// </summary>
/// <param name="context">Where to write.</param>
/// <param name="logInterval">Steps between two lines when nobody watches.</param>
internal sealed class ProgressReporter(ConsoleContext context, long logInterval) : IRunObserver
{
    const string ClearLine = "\r\u001b[2K";
    static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(100);

    long _lastDrawn = long.MinValue;
    bool _isLineOpen;
    ImmutableArray<string> _watched = [];

    public void OnStart(RunInfo run)
    {
        _watched = run.Watched;
        Say(Invariant(
        $"{run.Name}: {run.Parameters:N0} parameters, {run.TotalSteps - run.StepsDone:N0} steps of {run.TokensPerStep:N0} tokens on {run.Device} in {run.Precision}{(run.StepsDone > 0 ? Invariant($", going on after step {run.StepsDone:N0}") : "")}"));
    }

    public void OnStep(StepMetrics step)
    {
        if (!context.IsTerminal)
        {
            if (step.Step == 1 || step.Step % logInterval == 0 || step.Step == step.TotalSteps)
            {
                context.Log(Describe(step, Watched(step.Measured, "  ")));
            }

            return;
        }

        if (_lastDrawn == long.MinValue || context.Time.GetElapsedTime(_lastDrawn) >= Redraw || step.Step == step.TotalSteps)
        {
            _lastDrawn = context.Time.GetTimestamp();
            Draw(Fit(step, context.Console.Profile.Width - 1, Watched(step.Measured, "  ")));
        }
    }

    public void OnValidation(ValidationMetrics validation) => Say(Invariant(
        $"step {validation.Step:N0}: held-out loss {validation.Loss:F4}{(validation.Perplexity is { } perplexity ? Invariant($", perplexity {perplexity:F2}") : "")}{Watched(validation.Measured, ", ")}{(validation.BitsPerByte is { } bits ? Invariant($", {bits:F4} bits per byte") : "")} ({Durations.Format(validation.Duration)})"));

    public void OnCheckpoint(CheckpointSaved checkpoint) => Say(Invariant(
        $"step {checkpoint.Step:N0}: saved {checkpoint.Path} ({Durations.Format(checkpoint.Duration)})"));

    public void OnSample(GeneratedSample sample) => Say(Invariant($"step {sample.Step:N0} writes: {sample.Prompt}{sample.Text}"));

    public void OnMessage(string message) => Say(message);

    public void OnEnd(RunEnd end) => Say(end.Outcome == RunOutcome.Completed
        ? Invariant($"done: {end.Step:N0} steps in {Durations.Format(end.Elapsed)}")
        : Invariant($"{end.Outcome.ToString().ToLowerInvariant()} after step {end.Step:N0} and {Durations.Format(end.Elapsed)}{(end.Message is null ? "" : ": " + end.Message)}"));

    /// <summary>The step in one line, in the order a person looks for it.</summary>
    internal static string Describe(StepMetrics step, string watched = "") => Invariant(
        $"step {step.Step:N0}/{step.TotalSteps:N0}  loss {step.Loss:F4}{watched}  lr {step.LearningRate:0.00e-0}  grad {step.GradientNorm:F3}  {step.TokensPerSecond:N0} tok/s{(double.IsNaN(step.Utilisation) ? "" : Invariant($"  util {step.Utilisation * 100:F0}%"))}  wait {step.DataWaitShare * 100:F1}%  left {Durations.Format(step.TimeLeft)}");

    /// <summary>The longest form of the step that fits a terminal; a line that wraps could not be redrawn.</summary>
    internal static string Fit(StepMetrics step, int width, string watched = "")
    {
        string full = Describe(step, watched);
        string compact = full.Replace("step ", "").Replace(Invariant($"  wait {step.DataWaitShare * 100:F1}%"), "").Replace("  ", " ");
        return new[] { $"{Bar(step.Step, step.TotalSteps)} {full}", full, compact }.FirstOrDefault(line => line.Length <= width)
            ?? compact[..Math.Max(1, Math.Min(width, compact.Length))];
    }

    string Watched(ImmutableArray<MeasuredValue> measured, string before) =>
        string.Concat(measured.Where(value => _watched.Contains(value.Name)).Select(value => Invariant($"{before}{value.Name.Replace('_', ' ')} {value.Value:F4}")));

    /// <summary>A line that stays.</summary>
    void Say(string line)
    {
        Clear();
        context.Log(line);
    }

    void Draw(string line)
    {
        Clear();
        context.Console.Write(new Text(line));
        _isLineOpen = true;
    }

    void Clear()
    {
        if (_isLineOpen)
        {
            context.Console.Write(new ControlCode(ClearLine));
            _isLineOpen = false;
        }
    }

    static string Bar(long done, long total)
    {
        const int width = 12;
        int full = (int)(width * done / Math.Max(1, total));
        return new string('━', full) + new string('┄', width - full);
    }

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
