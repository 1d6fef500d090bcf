using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Training.Distributed;

namespace OpenElm.Training.Benchmarking;

/// <summary>What a prediction of training on many devices starts from; docs/distributed.md says where the defaults were measured.</summary>
public sealed record ScalingAssumptions
{
    /// <summary>The architecture.</summary>
    public required OpenElmConfig Config { get; init; }

    /// <summary>Tokens a second of one device that trains alone.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Sequences of a device's forward pass.</summary>
    public int MicroBatch { get; init; } = 8;

    /// <summary>Forward passes of a device in an update.</summary>
    public int Passes { get; init; } = 1;

    /// <summary>Tokens of a sequence.</summary>
    public int SequenceLength { get; init; } = 2048;

    /// <summary>Bytes of a weight as it is gathered.</summary>
    public int WeightBytes { get; init; } = 2;

    /// <summary>Devices of a machine.</summary>
    public int DevicesOfMachine { get; init; } = 8;

    /// <summary>Bytes a second that each device exchanges within a machine, while it computes: bytes of the message · 2 (n − 1)/n for a sum, over its time.</summary>
    public double LinkBytesPerSecond { get; init; } = 115e9;

    /// <summary>The same where the job spans machines.</summary>
    public double NetworkBytesPerSecond { get; init; } = 60e9;

    /// <summary>Seconds that an exchange takes at least: these times the logarithm of the devices to base 2.</summary>
    public double Latency { get; init; } = 15e-6;

    /// <summary>By which share of the time an exchange is under way the computing beside it takes longer.</summary>
    public double Slowdown { get; init; } = 0.38;

    /// <summary>Bytes a second of the device's own memory, for the optimizer's part of an update.</summary>
    public double MemoryBytesPerSecond { get; init; } = 2.8e12;
}

/// <summary>A predicted update.</summary>
/// <param name="Devices">Devices.</param>
/// <param name="Sharding">What is divided among them.</param>
/// <param name="Seconds">Of an update.</param>
/// <param name="ExchangeSeconds">In which exchanges are under way.</param>
/// <param name="TokensPerSecond">Of all devices.</param>
/// <param name="Efficiency">Tokens a second of a device, as a share of those of one alone.</param>
public sealed record ScalingPrediction(int Devices, Sharding Sharding, double Seconds, double ExchangeSeconds, double TokensPerSecond, double Efficiency)
{
    /// <summary>The share of exchanges that computing hides.</summary>
    public double Overlap { get; init; }
}

/// <summary>
/// Predicts an update from the time of one device and the bytes that travel: computing and exchanges are two queues that run layer by layer as the trainer
/// starts them, each layer's time its share of the model's arithmetic.
/// </summary>
public static class ScalingModel
{
    const double AdamWBytes = 28; // of a parameter: gradient, master, moments read; master, moments, weight written

    /// <summary>Predicts.</summary>
    /// <param name="given">The assumptions.</param>
    /// <param name="sharding">What is divided.</param>
    /// <param name="devices">How many devices.</param>
    /// <returns>The prediction.</returns>
    public static ScalingPrediction Predict(ScalingAssumptions given, Sharding sharding, int devices)
    {
        ArgumentNullException.ThrowIfNull(given);
        RankMemory sizes = RankMemory.Of(given.Config, new TrainerConfig());
        ImmutableArray<(double Parameters, double Flops)> layers =
        [
            .. TensorShapes.Of(given.Config).Where(shape => shape.Name.StartsWith("layers.", StringComparison.Ordinal)).GroupBy(shape => int.Parse(shape.Name.Split('.')[1]))
                .OrderBy(layer => layer.Key).Select(layer => ((double)layer.Sum(shape => shape.Elements), 0.0))
                .Zip(given.Config.Layers, (layer, shape) => (layer.Item1, layer.Item1 + ((given.SequenceLength + 1.0) * shape.QueryHeads * given.Config.HeadDim))),
        ];
        double tokens = (double)given.Passes * given.MicroBatch * given.SequenceLength, alone = tokens / given.TokensPerSecond;
        double optimizer = sizes.Parameters * AdamWBytes / given.MemoryBytesPerSecond;
        double root = (double)given.Config.VocabSize * given.Config.ModelDim, perPass = (alone - optimizer) / given.Passes, perFlop = perPass / (layers.Sum(layer => layer.Flops) + root);
        double Forward(int i) => layers[i].Flops * perFlop / 3;
        double Backward(int i) => layers[i].Flops * perFlop * 2 / 3;

        double bandwidth = devices > given.DevicesOfMachine ? given.NetworkBytesPerSecond : given.LinkBytesPerSecond, others = (devices - 1.0) / devices;
        double Half(double bytes) => devices == 1 ? 0 : (bytes * others / bandwidth) + (given.Latency * Math.Log2(devices)); // of a sum: parts summed, or put together
        double Reduce(double parameters) => (sharding == Sharding.None ? 2 : 1) * Half(parameters * sizeof(float));
        double Gather(double parameters) => Half(parameters * given.WeightBytes);

        (double now, double link, double exchanged) = (0, 0, 0); // where both queues stand
        double Exchange(double ready, double seconds)
        {
            link = Math.Max(link, ready) + seconds;
            exchanged += seconds;
            return link;
        }

        for (int pass = 0; pass < given.Passes; pass++)
        {
            bool reduces = sharding >= Sharding.Gradients || pass == given.Passes - 1;
            double arrives = sharding == Sharding.Parameters ? Exchange(now, Gather(layers[0].Parameters)) : now;
            for (int i = 0; i < layers.Length; i++)
            {
                now = Math.Max(now, arrives);
                arrives = sharding == Sharding.Parameters && i + 1 < layers.Length ? Exchange(now, Gather(layers[i + 1].Parameters)) : now;
                now += Forward(i);
            }

            now += root * perFlop;
            arrives = now;
            for (int i = layers.Length - 1; i >= 0; i--)
            {
                now = Math.Max(now, arrives);
                arrives = sharding == Sharding.Parameters && i > 0 ? Exchange(now, Gather(layers[i - 1].Parameters)) : now;
                now += Backward(i);
                if (reduces)
                {
                    Exchange(now, Reduce(layers[i].Parameters));
                }
            }

            if (reduces)
            {
                Exchange(now, Reduce(sizes.Root));
            }
        }

        // Computing beside exchanges is slower; what of them is left when computing ends is waited for, and then the root's new weights.
        double hidden = Math.Max(0, exchanged - Math.Max(0, link - now));
        double seconds = Math.Max(now, link) + (given.Slowdown * hidden) + (sharding == Sharding.None ? optimizer : optimizer / devices);
        if (sharding != Sharding.None)
        {
            double published = Gather(sizes.Root), rest = sharding == Sharding.Parameters ? 0 : Gather(sizes.Parameters - sizes.Root);
            seconds += published + (given.Slowdown * rest);
            exchanged += published + rest;
            hidden += rest;
        }

        return new ScalingPrediction(devices, sharding, seconds, exchanged, devices * tokens / seconds, alone / seconds) { Overlap = exchanged == 0 ? 1 : hidden / exchanged };
    }
}
