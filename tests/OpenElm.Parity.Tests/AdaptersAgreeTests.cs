using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Training;
using static TorchSharp.torch;

namespace OpenElm.Parity.Tests;

/// <summary>An adapter is written three times: in tensors, in spans beside the weights, and folded into them. All must be the same model.</summary>
public sealed class AdaptersAgreeTests
{
    static readonly OpenElmConfig Model = new OpenElmConfig
    {
        VocabSize = 77,
        MaxContextLength = 64,
        NumTransformerLayers = 3,
        ModelDim = 60,
        HeadDim = 10,
        FfnDimDivisor = 7,
        FfnMultipliers = (0.5, 3.0),
        QkvMultipliers = (0.5, 1.0),
        QueryHeadsPerKvHead = 2,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void Tensors_spans_and_merged_weights_give_the_same_logits(bool dora, bool tied)
    {
        OpenElmConfig config = (Model with { ShareInputOutputLayers = tied }).Validated();
        using var folder = new TemporaryFolder();
        ModelFolderWriter.Write(folder["base"], RandomModel.Create(config, 2));
        RandomAdapters.Write(folder["one"], RandomAdapters.Paper(dora, rank: 6), config);
        RandomAdapters.Write(folder["two"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*ffn", Rank = 3, RsLora = true }] }, config, seed: 4);
        int[] ids = [.. Enumerable.Range(0, 40).Select(i => i * 31 % config.VocabSize)];

        float[] expected;
        using (ModelFolder model = ModelFolder.Open(folder["base"]))
        using (Adapter one = Adapter.Open(folder["one"], config), two = Adapter.Open(folder["two"], config))
        using (OpenElmModule module = new(config))
        using (NewDisposeScope())
        using (no_grad())
        {
            module.Load(model.Weights);
            module.Adapters.Attach("one", one);
            module.Adapters.Attach("two", two).Scale = 0.5;
            expected = [.. module.call(tensor([.. ids.Select(id => (long)id)], [1, ids.Length])).data<float>()];
            using var checkpoint = OpenElm.Checkpoints.Checkpoint.Open(folder["base"]);
            AdapterMerge.Write(folder["merged"], AdapterMerge.Content(checkpoint, [new ScaledAdapter(one), new ScaledAdapter(two, 0.5)]), []);
        }

        foreach (string kernels in OpenElmModel.AvailableKernels)
        {
            var options = new InferenceOptions { Kernels = kernels };
            using var merged = OpenElmModel.Load(folder["merged"], options);
            using var beside = OpenElmModel.Load(folder["base"], options with { Adapters = [new AdapterPath(folder["one"]), new AdapterPath(folder["two"], 0.5)] });
            foreach (OpenElmModel runtime in new[] { merged, beside })
            {
                float[] actual = new float[expected.Length];
                runtime.ComputeLogits(ids, 0, actual);
                Assert.InRange(Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum() / expected.Sum(e => (double)e * e)), 0, 1e-5);
            }
        }
    }
}
