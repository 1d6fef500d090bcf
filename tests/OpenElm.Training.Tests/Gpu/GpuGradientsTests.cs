using OpenElm.Training.Gpu;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuGradientsTests
{
    [Fact]
    public void Gradients_do_not_overlap_and_those_of_layers_are_together()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        using var gradients = new GpuGradients(module.Weights, ScalarType.Float32, CPU);
        var spans = module.Weights.Zip(gradients.Buffers, (weight, buffer) => (weight.Name, Begin: (long)buffer.Address, End: buffer.Address + buffer.Bytes)).OrderBy(span => span.Begin).ToArray();
        Assert.All(spans.Zip(spans.Skip(1)), pair => Assert.True(pair.First.End <= pair.Second.Begin, $"{pair.First.Name} reaches into {pair.Second.Name}"));
        Assert.All(spans, span => Assert.Equal(
            span.Name.StartsWith("layers.", StringComparison.Ordinal), span.Begin >= gradients.LayersAddress && span.End <= gradients.LayersAddress + gradients.LayersBytes));
    }
}
