using System.Globalization;
using OpenElm.Evaluation.Engine;
using OpenElm.Training.Reporting;
using Spectre.Console;

namespace OpenElm.Cli;

/// <summary>
/// Shows on standard error how far an evaluation is: on a terminal one line that is redrawn, elsewhere a plain line every ten seconds.
/// </summary>
/// <param name="context">Where to write.</param>
/// <param name="what">What is evaluated.</param>
internal sealed class EvaluationProgress(ConsoleContext context, string what) : IProgress<EngineProgress>, IDisposable
{
    const string ClearLine = "\r\u001b[2K";
    const int BarWidth = 24;
    static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(100), LogInterval = TimeSpan.FromSeconds(10);

    long _last = context.Time.GetTimestamp();
    bool _isLineOpen;

    public void Report(EngineProgress value)
    {
        if (context.Time.GetElapsedTime(_last) < (context.IsTerminal ? Redraw : LogInterval))
        {
            return;
        }

        _last = context.Time.GetTimestamp();
        if (!context.IsTerminal)
        {
            context.Log(Describe(what, value));
            return;
        }

        Clear();
        string line = $"{Bar(value)} {Describe(what, value)}";
        int width = Math.Max(1, context.Console.Profile.Width - 1);
        context.Console.Write(new Text(line.Length <= width ? line : line[..width])); // a line that wraps could not be redrawn
        _isLineOpen = true;
    }

    public void Dispose() => Clear();

    internal static string Describe(string what, EngineProgress progress) => string.Create(CultureInfo.InvariantCulture,
        $"{what}: {100.0 * progress.Done / Math.Max(1, progress.Total):F0} % of {progress.Total:N0} {progress.Unit}, {Rate(progress)}{(progress.Left is { } left ? $", left {Durations.Format(left)}" : "")}");

    static string Rate(EngineProgress progress)
    {
        double rate = progress.Done / Math.Max(1e-9, progress.Elapsed.TotalSeconds);
        return progress.Unit == "tokens" ? string.Create(CultureInfo.InvariantCulture, $"{rate:N0} tok/s") : string.Create(CultureInfo.InvariantCulture, $"{rate:N1} {progress.Unit}/s");
    }

    /// <summary>What an evaluation cost, in a line.</summary>
    public static string Cost(EngineCounts counts, TimeSpan time)
    {
        string scored = string.Create(CultureInfo.InvariantCulture,
            $"{counts.Requests:N0} requests, {counts.Cached:N0} answers known before; {counts.TokensComputed:N0} of {counts.TokensAsked:N0} tokens computed ({counts.Saved:P1} saved, {counts.Recomputed:P1} of the computed ones again)");
        string written = string.Create(CultureInfo.InvariantCulture, $"{counts.Texts:N0} texts, {counts.TextsCached:N0} known before; {counts.TokensWritten:N0} tokens written");
        return $"{(counts.Texts == 0 ? scored : counts.Requests == 0 ? written : $"{scored}; {written}")} in {Durations.Format(time)}";
    }

    static string Bar(EngineProgress progress)
    {
        int full = (int)(BarWidth * progress.Done / Math.Max(1, progress.Total));
        return new string('━', full) + new string('┄', BarWidth - full);
    }

    void Clear()
    {
        if (_isLineOpen)
        {
            context.Console.Write(new ControlCode(ClearLine));
            _isLineOpen = false;
        }
    }
}
