using System.CommandLine;
using OpenElm.Configuration;
using OpenElm.IO;
using OpenElm.Training;
using OpenElm.Training.Benchmarking;

namespace OpenElm.Cli.Commands;

/// <summary>Predicts training on many devices from the speed of one.</summary>
internal static class BenchScalingCommand
{
    static readonly int[] Devices = [1, 2, 4, 8, 16, 32, 64, 128];

    public static Command Create(CommandContext context)
    {
        var size = new Option<string>("--size") { Description = "The architecture", DefaultValueFactory = _ => "openelm-270m" };
        size.AcceptOnlyFromAmong([.. NamedConfigs.Names]);
        var rate = new Option<double>("--tokens-per-second") { Description = "What one device reaches alone, as bench train measures it", Required = true };
        var microBatch = new Option<int>("--micro-batch") { Description = "Sequences of a device's forward pass", DefaultValueFactory = _ => 8 };
        var passes = new Option<int>("--passes") { Description = "Forward passes of a device in an update", DefaultValueFactory = _ => 1 };
        var length = new Option<int>("--sequence-length") { Description = "Tokens of a sequence", DefaultValueFactory = _ => 2048 };
        var weightBytes = new Option<int>("--weight-bytes") { Description = "Bytes of a weight as it is gathered", DefaultValueFactory = _ => 2 };
        var machine = new Option<int>("--devices-of-machine") { Description = "Devices of a machine", DefaultValueFactory = _ => 8 };
        var link = new Option<double>("--link") { Description = "GB/s that each device exchanges within a machine", DefaultValueFactory = _ => 115 };
        var network = new Option<double>("--network") { Description = "GB/s that each device exchanges between machines", DefaultValueFactory = _ => 60 };
        var slowdown = new Option<double>("--slowdown") { Description = "By which share of the exchanges' time the computing beside them takes longer", DefaultValueFactory = _ => 0.38 };
        var picture = new Option<string?>("--picture") { Description = "An SVG file to draw" };
        var command = new Command("scaling", "Predict tokens a second on 1 to 128 devices at each level of sharding, from the speed of one (docs/distributed.md)")
        {
            size, rate, microBatch, passes, length, weightBytes, machine, link, network, slowdown, picture,
        };
        command.SetAction(parsed =>
        {
            var given = new ScalingAssumptions
            {
                Config = NamedConfigs.Get(parsed.GetValue(size)!) with { VocabSize = 32128 },
                TokensPerSecond = parsed.GetValue(rate),
                MicroBatch = parsed.GetValue(microBatch),
                Passes = parsed.GetValue(passes),
                SequenceLength = parsed.GetValue(length),
                WeightBytes = parsed.GetValue(weightBytes),
                DevicesOfMachine = parsed.GetValue(machine),
                LinkBytesPerSecond = 1e9 * parsed.GetValue(link),
                NetworkBytesPerSecond = 1e9 * parsed.GetValue(network),
                Slowdown = parsed.GetValue(slowdown),
            };
            ScalingPrediction[] predictions = [.. from level in Enum.GetValues<Sharding>() from devices in Devices select ScalingModel.Predict(given, level, devices)];
            if (parsed.GetValue(picture) is { } file)
            {
                AtomicFile.WriteText(file, ScalingChart.Draw(predictions, parsed.GetValue(size)!));
            }

            if (context.IsJson)
            {
                context.WriteJson(predictions);
                return;
            }

            context.Output.WriteLine("| devices | " + string.Join(" | ", Enum.GetValues<Sharding>().Select(level => $"{level.ToString().ToLowerInvariant()}: tokens/s, efficiency")) + " |");
            context.Output.WriteLine("|---:|" + string.Concat(Enumerable.Repeat("---:|", Enum.GetValues<Sharding>().Length)));
            foreach (var row in predictions.GroupBy(prediction => prediction.Devices))
            {
                context.Output.WriteLine($"| {row.Key} | " + string.Join(" | ", row.Select(prediction => $"{prediction.TokensPerSecond:n0}, {prediction.Efficiency:0.0%}")) + " |");
            }
        });
        return command.WithExamples("openelm bench scaling --size openelm-270m --tokens-per-second 245000 --picture scaling.svg", "openelm bench scaling --size openelm-3b --tokens-per-second 30000 --micro-batch 16 --json");
    }
}
