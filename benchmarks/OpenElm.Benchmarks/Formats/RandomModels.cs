using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Benchmarks.Formats;

/// <summary>Random models whose norms differ too: were they all 1, swapped ones would go unseen.</summary>
internal static class RandomModels
{
    public static ModelContent Create(OpenElmConfig config, int seed)
    {
        ModelContent content = RandomModel.Create(config, seed);
        return content with { Weights = [.. content.Weights.Select((weight, i) => weight.Shape.Length == 1 ? Norm(weight, seed + i) : weight)] };
    }

    /// <summary>Token ids, the same for the same arguments.</summary>
    public static int[][] Sequences(int vocab, int count, int length)
    {
        var random = new Random(vocab);
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, length).Select(_ => random.Next(vocab)).ToArray())];
    }

    static TensorSource Norm(TensorSource weight, int seed)
    {
        var random = new Random(seed);
        return TensorSource.Of(weight.Name, weight.Shape, Enumerable.Range(0, (int)weight.Shape[0]).Select(_ => 0.7f + (0.6f * random.NextSingle())).ToArray());
    }
}
