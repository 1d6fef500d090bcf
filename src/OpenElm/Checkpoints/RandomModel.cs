using System.Collections.Concurrent;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>
/// An untrained model with CoreNet's initialisation: normal with mean 0 and standard deviation modelDim^−½, except the two
/// matrices that write to the residual stream (out_proj, proj_2), which get modelDim^−½ · (2 · layers)^−½; norms are 1.
/// </summary>
public static class RandomModel
{
    const int FloatsAtATime = 1 << 16, FloatsEach = 1 << 12;

    /// <summary>Describes a random model; its weights are drawn while they are written, each tensor from a seed of its own.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    /// <param name="dtype">F32, BF16 or F16.</param>
    /// <returns>What to write.</returns>
    public static ModelContent Create(OpenElmConfig config, int seed, DType dtype = DType.F32)
    {
        ArgumentNullException.ThrowIfNull(config);
        return new ModelContent(config, [.. TensorShapes.Of(config).Select((shape, index) => new TensorSource(
            shape.Name, dtype, shape.Shape, stream => Write(stream, shape, StandardDeviation(config, shape.Name), HashSeed(seed, index), dtype)))]);
    }

    /// <summary>The standard deviation of a weight; 0 for norms, which are 1.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="name">CoreNet's name.</param>
    /// <returns>The standard deviation.</returns>
    public static double StandardDeviation(OpenElmConfig config, string name)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(name);
        double std = 1 / Math.Sqrt(config.ModelDim);
        return name.EndsWith("norm.weight", StringComparison.Ordinal) ? 0
            : name.EndsWith("out_proj.weight", StringComparison.Ordinal) || name.EndsWith("proj_2.weight", StringComparison.Ordinal)
                ? std / Math.Sqrt(2.0 * config.NumTransformerLayers)
                : std;
    }

    static void Write(Stream stream, TensorShape shape, double std, int seed, DType dtype)
    {
        var random = new Random(seed);
        float[] floats = new float[Math.Min(FloatsAtATime, shape.Elements)];
        (double U, double V)[] uniform = new (double, double)[std == 0 ? 0 : floats.Length]; // drawn one after another, turned into weights side by side
        if (std == 0)
        {
            floats.AsSpan().Fill(1);
        }

        for (long at = 0; at < shape.Elements; at += floats.Length)
        {
            int count = (int)Math.Min(floats.Length, shape.Elements - at);
            if (std != 0)
            {
                for (int i = 0; i < count; i++)
                {
                    uniform[i] = (random.NextDouble(), random.NextDouble());
                }

                Parallel.ForEach(Partitioner.Create(0, count, FloatsEach), range =>
                {
                    for (int i = range.Item1; i < range.Item2; i++)
                    {
                        // Box and Muller; 1 − u is in (0, 1], whose logarithm is finite.
                        floats[i] = (float)(std * Math.Sqrt(-2 * Math.Log(1 - uniform[i].U)) * Math.Cos(2 * Math.PI * uniform[i].V));
                    }
                });
            }

            stream.Write(FloatEncoding.Encode(floats.AsSpan(0, count), dtype));
        }
    }

    // HashCode.Combine differs from process to process.
    static int HashSeed(int seed, int index) => unchecked((seed * 1_000_003) ^ ((index + 1) * 0x5bd1e995));
}
