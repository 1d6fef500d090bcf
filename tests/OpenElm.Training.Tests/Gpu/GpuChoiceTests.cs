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

    [Fact]
    public void Timing_chooses_where_SwiGlu_is_computed_but_in_deterministic_runs()
    {
        var trainer = new TrainerConfig();
        Assert.Null(GpuPassOptions.Of(trainer).JoinsSwiGlu);
        Assert.False(GpuPassOptions.Of(trainer with { Deterministic = true }).JoinsSwiGlu);
        Assert.False(GpuPassOptions.Of(trainer with { SwigluInProducts = false }).JoinsSwiGlu);
    }
}
