using OpenElm.Configuration;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests;

/// <summary>Small architectures that reach every branch of the model; widths are odd on purpose.</summary>
internal static class SmallModels
{
    public static readonly OpenElmConfig Layerwise = new OpenElmConfig
    {
        VocabSize = 101,
        MaxContextLength = 32,
        NumTransformerLayers = 3,
        ModelDim = 36,
        HeadDim = 6,
        QkvMultipliers = (0.5, 1.0),
        QueryHeadsPerKvHead = 2,
        FfnMultipliers = (0.5, 3.0),
        FfnDimDivisor = 7,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    public static readonly OpenElmConfig MultiQueryUntied = (Layerwise with
    {
        NumQueryHeads = [5, 5, 5],
        NumKvHeads = [1, 1, 1],
        NormalizeQkProjections = false,
        ShareInputOutputLayers = false,
        RmsNormEps = 1e-5,
    }).Validated();

    public static readonly OpenElmConfig MultiHeadNoGlu = (Layerwise with { QueryHeadsPerKvHead = 1, FfnWithGlu = false }).Validated();

    public static OpenElmConfig Named(string name) => name switch
    {
        nameof(Layerwise) => Layerwise,
        nameof(MultiQueryUntied) => MultiQueryUntied,
        _ => MultiHeadNoGlu,
    };

    public static OpenElmModule Create(OpenElmConfig config, ModuleOptions options, long seed = 1)
    {
        var module = new OpenElmModule(config, options);
        module.Initialize(seed);
        return module;
    }

    /// <summary>Random ids, the same for the same seed.</summary>
    public static Tensor Ids(long batch, long seq, long vocab, int seed = 5)
    {
        var random = new Random(seed);
        return tensor([.. Enumerable.Range(0, (int)(batch * seq)).Select(_ => (long)random.Next((int)vocab))], [batch, seq]);
    }
}
