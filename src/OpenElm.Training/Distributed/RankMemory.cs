using OpenElm.Configuration;

namespace OpenElm.Training.Distributed;

/// <summary>Sizes that decide what a rank holds of a model.</summary>
/// <param name="Parameters">Trained parameters.</param>
/// <param name="Root">Of them, outside of the layers.</param>
/// <param name="LargestLayer">Of them, in the largest layer.</param>
/// <param name="WeightBytes">Bytes of a weight as the passes read it.</param>
/// <param name="HasMasters">Whether there are single-precision weights besides.</param>
/// <param name="KeepsAverage">Whether a moving average of the weights is kept.</param>
internal readonly record struct RankMemory(long Parameters, long Root, long LargestLayer, int WeightBytes, bool HasMasters, bool KeepsAverage)
{
    const int Buckets = 2; // of divided gradients, and of gathered layers, that exist at once

    /// <summary>The sizes of a whole model.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="trainer">The loop.</param>
    public static RankMemory Of(OpenElmConfig config, TrainerConfig trainer)
    {
        long[] layers = [.. TensorShapes.Of(config).Where(shape => shape.Name.StartsWith("layers.", StringComparison.Ordinal))
            .GroupBy(shape => shape.Name.Split('.')[1]).Select(layer => layer.Sum(shape => shape.Elements))];
        long parameters = ParameterCount.Of(config).Total;
        bool bf16 = trainer.Precision == Precision.Bf16;
        return new(parameters, parameters - layers.Sum(), layers.Max(), bf16 ? 2 : 4, bf16, trainer.EmaMomentum > 0);
    }

    /// <summary>Bytes of weights, gradients and optimizer on each rank.</summary>
    /// <param name="sharding">What is divided.</param>
    /// <param name="ranks">Among how many.</param>
    public long Bytes(Sharding sharding, int ranks)
    {
        const int number = sizeof(float);
        long state = Parameters * number * (2 + (HasMasters ? 1 : 0) + (KeepsAverage ? 1 : 0)), gradients = Parameters * number;
        long weights = sharding == Sharding.Parameters ? ((Root + ((Parameters - Root) / ranks)) * WeightBytes) + (Buckets * LargestLayer * WeightBytes) : Parameters * WeightBytes;
        return weights + sharding switch
        {
            Sharding.None => state + gradients,
            Sharding.Optimizer => ((state + gradients) / ranks) + gradients, // a bucket of all gradients, and the part of their sums
            _ => ((state + gradients) / ranks) + (((Buckets * LargestLayer) + Root) * number),
        };
    }
}
