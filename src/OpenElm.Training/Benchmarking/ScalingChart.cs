using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace OpenElm.Training.Benchmarking;

/// <summary>Draws predictions: efficiency against devices, a line for each level of sharding.</summary>
public static class ScalingChart
{
    static readonly OxyColor[] Colours = [OxyColor.FromRgb(0x1f, 0x6f, 0xb2), OxyColor.FromRgb(0x2c, 0x8c, 0x4a), OxyColor.FromRgb(0xd9, 0x5f, 0x02), OxyColor.FromRgb(0x7a, 0x3e, 0x9d)];

    /// <summary>Draws.</summary>
    /// <param name="predictions">The predictions.</param>
    /// <param name="title">The title.</param>
    /// <returns>An SVG document.</returns>
    public static string Draw(IEnumerable<ScalingPrediction> predictions, string title)
    {
        var plot = new PlotModel { Title = title, DefaultFont = "sans-serif", PlotMargins = new OxyThickness(56, double.NaN, 150, double.NaN) };
        plot.Axes.Add(new LogarithmicAxis { Position = AxisPosition.Bottom, Base = 2, Title = "devices", MajorGridlineStyle = LineStyle.Solid, MajorGridlineColor = OxyColors.LightGray });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Title = "efficiency", Minimum = 0, Maximum = 1.02, StringFormat = "0 %", MajorGridlineStyle = LineStyle.Solid, MajorGridlineColor = OxyColors.LightGray });
        foreach (IGrouping<Sharding, ScalingPrediction> level in predictions.GroupBy(prediction => prediction.Sharding))
        {
            var line = new LineSeries { Color = Colours[(int)level.Key], MarkerType = MarkerType.Circle, MarkerFill = Colours[(int)level.Key], LineLegendPosition = LineLegendPosition.End, Title = level.Key.ToString().ToLowerInvariant() };
            line.Points.AddRange(level.Select(prediction => new DataPoint(prediction.Devices, prediction.Efficiency)));
            plot.Series.Add(line);
        }

        return new SvgExporter { Width = 760, Height = 360, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot);
    }
}
