using OpenElm.Training.Gpu;

namespace OpenElm.Training.Tests.Gpu;

public sealed class GpuChoiceTests
{
    [Fact]
    public void On_the_CPU_nothing_is_said_to_be_lost()
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions());
        Assert.Equal("they run on a GPU", GpuUpdate.Refusal(module));
    }
}
