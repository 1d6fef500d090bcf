using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace OpenElm.Training.Reporting;

/// <summary>The report's curves as inline SVG.</summary>
internal static class ReportCharts
{
    const int MostPoints = 1000; // more are closer than a pixel

    static readonly OxyColor Blue = OxyColor.FromRgb(0x1f, 0x6f, 0xb2);
    static readonly OxyColor Orange = OxyColor.FromRgb(0xd9, 0x5f, 0x02);
    static readonly OxyColor Grey = OxyColor.FromRgb(0x66, 0x66, 0x66);

    public static string Loss(RunReport report)
    {
        PlotModel plot = NewPlot("loss (nats a token)");
        plot.Series.Add(Curve("training", report.Steps, step => step.CrossEntropy));
        var validation = new LineSeries { Title = "held-out text", Color = Orange, MarkerType = MarkerType.Circle, MarkerSize = 4, MarkerFill = Orange };
        validation.Points.AddRange(report.Validations.Where(v => double.IsFinite(v.Loss)).Select(v => new DataPoint(v.Step, v.Loss)));
        if (validation.Points.Count > 0)
        {
            plot.Series.Add(validation);
        }

        if (report.Bigram is { } bigram && report.Steps is [var first, .., var last])
        {
            var line = new LineSeries { Title = "bigram model, held-out text", Color = Grey, LineStyle = LineStyle.Dash };
            line.Points.AddRange([new DataPoint(first.Step, bigram.BigramLoss), new DataPoint(last.Step, bigram.BigramLoss)]);
            plot.Series.Add(line);
        }

        return ToSvg(plot);
    }

    public static string LearningRate(RunReport report) => Single("learning rate", report, step => step.LearningRate);

    public static string GradientNorm(RunReport report) => Single("gradient norm before clipping", report, step => step.GradientNorm);

    public static string Speed(RunReport report) => Single("tokens/s", report, step => step.TokensPerSecond, minimum: 0);

    static string Single(string title, RunReport report, Func<StepMetrics, double> value, double minimum = double.NaN)
    {
        PlotModel plot = NewPlot(title, minimum);
        plot.Series.Add(Curve(null, report.Steps, value));
        return ToSvg(plot);
    }

    static PlotModel NewPlot(string title, double minimum = double.NaN)
    {
        var plot = new PlotModel { PlotAreaBorderColor = Grey, TextColor = OxyColors.Black, DefaultFont = "sans-serif" };
        plot.Axes.Add(Axis(AxisPosition.Bottom, "step", minimum: double.NaN));
        plot.Axes.Add(Axis(AxisPosition.Left, title, minimum));
        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.RightTop, LegendBackground = OxyColor.FromAColor(220, OxyColors.White) });
        return plot;

        static LinearAxis Axis(AxisPosition position, string title, double minimum) => new()
        {
            Position = position,
            Title = title,
            Minimum = minimum,
            AxisTitleDistance = 8,
            MajorGridlineStyle = LineStyle.Solid,
            MajorGridlineColor = OxyColor.FromRgb(0xe4, 0xe4, 0xe4),
            TicklineColor = Grey,
        };
    }

    static LineSeries Curve(string? title, IReadOnlyList<StepMetrics> steps, Func<StepMetrics, double> value)
    {
        var series = new LineSeries { Title = title, Color = Blue, StrokeThickness = 1.5 };
        int bucket = Math.Max(1, (steps.Count + MostPoints - 1) / MostPoints);
        foreach (StepMetrics[] part in steps.Where(step => double.IsFinite(value(step))).Chunk(bucket))
        {
            series.Points.Add(new DataPoint(part.Average(step => step.Step), part.Average(value)));
        }

        return series;
    }

    static string ToSvg(PlotModel plot) =>
        new SvgExporter { Width = 760, Height = 320, IsDocument = false, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot);
}
