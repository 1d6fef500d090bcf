using System.Text.RegularExpressions;
using OpenElm.Evaluation.Metrics;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace OpenElm.Evaluation.Reports;

/// <summary>The picture of a task over a run: points with error bars of one standard error, the average of the last checkpoints as a diamond.</summary>
internal static partial class CurveChart
{
    static readonly OxyColor Blue = OxyColor.FromRgb(0x1f, 0x6f, 0xb2);
    static readonly OxyColor Orange = OxyColor.FromRgb(0xd9, 0x5f, 0x02);
    static readonly OxyColor Grey = OxyColor.FromRgb(0x66, 0x66, 0x66);

    /// <summary>Draws a line.</summary>
    /// <param name="curve">The run.</param>
    /// <param name="line">Its task.</param>
    /// <param name="isDocument">Whether the picture is a file of its own rather than part of a page.</param>
    public static string ToSvg(TrainingCurve curve, CurveLine line, bool isDocument)
    {
        bool percent = !MetricSummary.IsPerplexity(line.Metric);
        double scale = percent ? 100 : 1;
        var plot = new PlotModel { PlotAreaBorderColor = Grey, TextColor = OxyColors.Black, DefaultFont = "sans-serif", PlotMargins = new OxyThickness(74, double.NaN, 16, double.NaN) };
        plot.Axes.Add(Axis(AxisPosition.Bottom, "iterations"));
        plot.Axes.Add(Axis(AxisPosition.Left, percent ? $"{line.Metric} (%)" : line.Metric));
        var points = new LineSeries { Color = Blue, StrokeThickness = 1.5, MarkerType = MarkerType.Circle, MarkerSize = 3.5, MarkerFill = Blue };
        for (int p = 0; p < curve.Points.Length; p++)
        {
            CurvePoint point = curve.Points[p];
            double value = line.Values[p].Value * scale;
            if (!double.IsFinite(value))
            {
                continue; // a gap in the picture; the table says Infinity
            }

            if (line.Values[p].StandardError is { } error && double.IsFinite(error))
            {
                var bar = new LineSeries { Color = point.IsAverage ? Orange : Blue, StrokeThickness = 1 };
                bar.Points.AddRange([new DataPoint(point.Step, value - error * scale), new DataPoint(point.Step, value + error * scale)]);
                plot.Series.Add(bar);
            }

            if (point.IsAverage)
            {
                var average = new LineSeries { Color = Orange, MarkerType = MarkerType.Diamond, MarkerSize = 6, MarkerFill = Orange };
                average.Points.Add(new DataPoint(point.Step, value));
                plot.Series.Add(average);
            }
            else
            {
                points.Points.Add(new DataPoint(point.Step, value));
            }
        }

        plot.Series.Insert(0, points);
        string svg = new SvgExporter { Width = 480, Height = 280, IsDocument = isDocument, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot);
        return Id().Replace(svg, $"$1{FileName(line)}-"); // all pictures of a page share one name space
    }

    /// <summary>A line's name as a file.</summary>
    public static string FileName(CurveLine line) => NotAName().Replace(line.Task, "-");

    static LinearAxis Axis(AxisPosition position, string title) => new()
    {
        Position = position,
        Title = title,
        AxisTitleDistance = position == AxisPosition.Left ? 26 : 4, // behind the numbers
        MinimumPadding = 0.04,
        MaximumPadding = 0.04,
        MajorGridlineStyle = LineStyle.Solid,
        MajorGridlineColor = OxyColor.FromRgb(0xe4, 0xe4, 0xe4),
        TicklineColor = Grey,
    };

    [GeneratedRegex("""(id="|url\(#)""")]
    private static partial Regex Id();

    [GeneratedRegex("[^A-Za-z0-9_.-]+")]
    private static partial Regex NotAName();
}
