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
        $"{what}: {100.0 * progress.TokensDone / Math.Max(1, progress.TokensTotal):F0} % of {progress.TokensTotal:N0} tokens, {progress.TokensDone / Math.Max(1e-9, progress.Elapsed.TotalSeconds):N0} tok/s{(progress.Left is { } left ? $", left {Durations.Format(left)}" : "")}");

    static string Bar(EngineProgress progress)
    {
        int full = (int)(BarWidth * progress.TokensDone / Math.Max(1, progress.TokensTotal));
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
