using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Distributed;

/// <summary>Losses that are not finite are told with the ranks that had them.</summary>
public sealed class StepWindowTests
{
    [Fact]
    public void A_rank_whose_loss_is_not_finite_is_named()
    {
        using var window = new StepWindow(readEveryStep: true, new FakeGroup(0, 2));
        Assert.True(window.Add(new StepResult(1, 0.1, [tensor(2.5f), tensor(0.5f)], tensor(1f), 8, "file line 1")));
        Assert.Equal(" on rank 1 (host)", window.Culprits);
    }

    [Fact]
    public void A_process_that_is_alone_has_no_rank_to_name()
    {
        using var window = new StepWindow(readEveryStep: true);
        Assert.False(window.Add(new StepResult(1, 0.1, [tensor(2.5f)], tensor(1f), 8, "file line 1")));
        Assert.True(window.Add(new StepResult(2, 0.1, [tensor(float.NaN)], tensor(1f), 8, "file line 2")));
        Assert.Equal("", window.Culprits);
    }
}
