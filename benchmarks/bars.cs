// Draws numbers as horizontal bars: the pictures of benchmarks/results and the README.
//
//   printf 'ours;941\nlibtorch, naive RMSNorm;40.7\n' | dotnet run benchmarks/bars.cs "tokens a second" docs/images/norms.svg
#:property NoWarn=RS0030
#:package OxyPlot.Core
using System.Globalization;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

if (args is not [var unit, var output])
{
    Console.Error.WriteLine("Usage: dotnet run benchmarks/bars.cs UNIT PICTURE.svg, with lines of LABEL;NUMBER as input.");
    return 2;
}

(string Label, double Value)[] rows = [.. Lines().Select(line => line.Split(';')).Select(parts => (parts[0], double.Parse(parts[1], CultureInfo.InvariantCulture)))];
var plot = new PlotModel { PlotAreaBorderThickness = new OxyThickness(0), Background = OxyColors.White, PlotMargins = new OxyThickness(16 + (6.5 * rows.Max(row => row.Label.Length)), 4, 16, 40) };
var labels = new CategoryAxis { Position = AxisPosition.Left, GapWidth = 0.4, TickStyle = TickStyle.None };
var bars = new BarSeries { FillColor = OxyColor.Parse("#4c78a8"), LabelPlacement = LabelPlacement.Outside, LabelFormatString = "{0:#,0.#}" };
foreach ((string label, double value) in rows.Reverse())
{
    labels.Labels.Add(label);
    bars.Items.Add(new BarItem(value) { Color = label.StartsWith("ours", StringComparison.Ordinal) ? OxyColor.Parse("#e45756") : OxyColors.Automatic });
}

plot.Axes.Add(labels);
plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Minimum = 0, Maximum = 1.15 * rows.Max(row => row.Value), Title = unit, MajorGridlineStyle = LineStyle.Solid, MajorGridlineColor = OxyColor.Parse("#dddddd") });
plot.Series.Add(bars);
using FileStream file = File.Create(output);
new SvgExporter { Width = 760, Height = 70 + (26 * rows.Length) }.Export(plot, file);
return 0;

static IEnumerable<string> Lines()
{
    while (Console.ReadLine() is { } line)
    {
        if (line.Length > 0)
        {
            yield return line;
        }
    }
}
