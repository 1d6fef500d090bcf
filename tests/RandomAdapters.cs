using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Testing;

/// <summary>Adapters with random numbers, as if they were trained.</summary>
internal static class RandomAdapters
{
    public static OpenElmConfig Model { get; } = new OpenElmConfig
    {
        VocabSize = 21,
        NumTransformerLayers = 2,
        ModelDim = 16,
        HeadDim = 4,
        QueryHeadsPerKvHead = 2,
        FfnDimDivisor = 6,
        FfnMultipliers = (1.0, 2.0),
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    /// <summary>The paper's rules (openelm.md 8.1).</summary>
    public static AdapterConfig Paper(bool dora = false, int rank = 32) => new()
    {
        Rules =
        [
            new AdapterRule { Modules = ".*token_embedding.*", Rank = rank },
            new AdapterRule { Modules = ".*out_proj.*", Rank = rank, Dora = dora },
            new AdapterRule { Modules = ".*qkv_proj.*", Rank = rank, Dora = dora },
            new AdapterRule { Modules = @".*proj_\d.*", Rank = rank, Dora = dora },
        ],
        Freeze = [".*base_layer.*", ".*norm.*"],
    };

    public static AdapterContent Content(ImmutableArray<AdaptedModule> modules, int seed = 1, Func<AdapterTensor, string>? naming = null)
    {
        var random = new Random(seed);
        return new AdapterContent(modules, [.. from module in modules from part in module.Parts select Source(module, part)]);

        TensorSource Source(AdaptedModule module, AdapterPart part)
        {
            ImmutableArray<long> shape = module.ShapeOf(part);
            float[] values = [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (a, b) => a * b)).Select(_ => part switch
            {
                AdapterPart.Magnitude => 0.5f + random.NextSingle(),
                AdapterPart.A => random.NextSingle() - 0.5f,
                _ => (random.NextSingle() - 0.5f) / 10, // a change as large as the weights: larger ones only amplify roundings
            })];
            var name = new AdapterTensor(module.Name, module.IsEmbedding, part);
            return TensorSource.Of(naming?.Invoke(name) ?? name.ToCoreNet(), shape, values);
        }
    }

    /// <summary>Writes an adapter folder.</summary>
    public static void Write(string folder, AdapterConfig config, OpenElmConfig? model = null, int seed = 1) =>
        AdapterFolder.Write(folder, Content(config.Resolve(model ?? Model), seed));
}
