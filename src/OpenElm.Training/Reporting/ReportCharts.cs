using System.Collections.Immutable;
using System.Text.RegularExpressions;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace OpenElm.Training.Reporting;

/// <summary>A picture and the names of its lines, which the page writes beside it: text inside a picture cannot be measured here.</summary>
/// <param name="Svg">The picture, inline.</param>
/// <param name="Lines">Names and CSS colours; empty for a single line.</param>
internal sealed record ReportChart(string Svg, IReadOnlyList<(string Name, string Colour)> Lines);

/// <summary>The report's curves.</summary>
internal static partial class ReportCharts
{
    const int MostPoints = 1000; // more are closer than a pixel

    static readonly OxyColor Blue = OxyColor.FromRgb(0x1f, 0x6f, 0xb2);
    static readonly OxyColor Orange = OxyColor.FromRgb(0xd9, 0x5f, 0x02);
    static readonly OxyColor Grey = OxyColor.FromRgb(0x66, 0x66, 0x66);

    public static ReportChart Loss(RunReport report) => TrainingAndHeldOut(
        report, "loss", step => step.ComparableLoss, validation => validation.Loss,
        report.Bigram is { } bigram ? ("bigram model on held-out text", bigram.BigramLoss) : null);

    public static ReportChart Measured(RunReport report, string name)
    {
        double ValueIn(ImmutableArray<MeasuredValue> measured) => measured.FirstOrDefault(value => value.Name == name, new MeasuredValue(name, double.NaN)).Value;

        return TrainingAndHeldOut(report, name, step => ValueIn(step.Measured), validation => ValueIn(validation.Measured));
    }

    static ReportChart TrainingAndHeldOut(
        RunReport report, string name, Func<StepMetrics, double> training, Func<ValidationMetrics, double> heldOut, (string Name, double Value)? level = null)
    {
        PlotModel plot = NewPlot();
        var lines = new List<(string, string)>();
        Add(Curve(report.Steps, training), "training", Blue);
        var validation = new LineSeries { Color = Orange, MarkerType = MarkerType.Circle, MarkerSize = 4, MarkerFill = Orange };
        validation.Points.AddRange(report.Validations.Where(v => double.IsFinite(heldOut(v))).Select(v => new DataPoint(v.Step, heldOut(v))));
        if (validation.Points.Count > 0)
        {
            Add(validation, report.Run.Watched is [] ? "held-out text" : "held-out pairs", Orange);
        }

        if (level is var (levelName, value) && report.Steps is [var first, .., var last])
        {
            var line = new LineSeries { Color = Grey, LineStyle = LineStyle.Dash };
            line.Points.AddRange([new DataPoint(first.Step, value), new DataPoint(last.Step, value)]);
            Add(line, levelName, Grey);
        }

        return new ReportChart(ToSvg(plot, name), lines);

        void Add(LineSeries series, string name, OxyColor colour)
        {
            plot.Series.Add(series);
            lines.Add((name, $"#{colour.R:x2}{colour.G:x2}{colour.B:x2}"));
        }
    }

    public static ReportChart LearningRate(RunReport report) => Single(report, "rate", step => step.LearningRate);

    public static ReportChart GradientNorm(RunReport report) => Single(report, "norm", step => step.GradientNorm);

    public static ReportChart Speed(RunReport report) => Single(report, "speed", step => step.TokensPerSecond);

    static ReportChart Single(RunReport report, string name, Func<StepMetrics, double> value)
    {
        PlotModel plot = NewPlot(minimum: 0);
        plot.Series.Add(Curve(report.Steps, value));
        return new ReportChart(ToSvg(plot, name), []);
    }

    static PlotModel NewPlot(double minimum = double.NaN)
    {
        var plot = new PlotModel { PlotAreaBorderColor = Grey, TextColor = OxyColors.Black, DefaultFont = "sans-serif", PlotMargins = new OxyThickness(64, double.NaN, 16, double.NaN) };
        plot.Axes.Add(Axis(AxisPosition.Bottom, "step", minimum: double.NaN));
        plot.Axes.Add(Axis(AxisPosition.Left, title: null, minimum));
        return plot;

        static LinearAxis Axis(AxisPosition position, string? title, double minimum) => new()
        {
            Position = position,
            Title = title,
            Minimum = minimum,
            MajorGridlineStyle = LineStyle.Solid,
            MajorGridlineColor = OxyColor.FromRgb(0xe4, 0xe4, 0xe4),
            TicklineColor = Grey,
        };
    }

    static LineSeries Curve(IReadOnlyList<StepMetrics> steps, Func<StepMetrics, double> value)
    {
        var series = new LineSeries { Color = Blue, StrokeThickness = 1.5 };
        int bucket = Math.Max(1, (steps.Count + MostPoints - 1) / MostPoints);
        foreach (StepMetrics[] part in steps.Where(step => double.IsFinite(value(step))).Chunk(bucket))
        {
            series.Points.Add(new DataPoint(part.Average(step => step.Step), part.Average(value)));
        }

        return series;
    }

    /// <summary>The picture with ids of its own, because all pictures of a page share one name space.</summary>
    static string ToSvg(PlotModel plot, string name)
    {
        string svg = new SvgExporter { Width = 760, Height = 300, IsDocument = false, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot);
        return Id().Replace(svg, $"$1{name}-");
    }

    [GeneratedRegex("""(id="|url\(#)""")]
    private static partial Regex Id();
}
