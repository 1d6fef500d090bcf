using OpenElm.Training.Losses;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Losses;

public sealed class CausalLMLossTests
{
    [Theory]
    [InlineData(KernelChoice.Fused, 0, 1e-4, 0.0, false)]
    [InlineData(KernelChoice.Fused, 5, 1e-4, 0.0, false)]
    [InlineData(KernelChoice.Fused, 1, 1e-2, 0.1, true)]
    [InlineData(KernelChoice.Fused, 64, 0.0, 0.1, false)]
    [InlineData(KernelChoice.Torch, 5, 1e-2, 0.1, false)]
    [InlineData(KernelChoice.Torch, 0, 1e-4, 0.0, true)]
    public void Chunks_agree_with_the_whole(KernelChoice kernels, int chunkRows, double zLoss, double smoothing, bool countIgnored)
    {
        using var scope = NewDisposeScope();
        var loss = new CausalLMLoss(new LossOptions { ChunkRows = chunkRows, ZLossFactor = zLoss, LabelSmoothing = smoothing, IgnoreIndex = 50, CountIgnoredInZLoss = countIgnored });
        Tensor hidden = randn(3, 11, 20), head = randn(51, 20), targets = SmallModels.Ids(3, 11, 51);
        targets[0, 3] = 50;
        targets[2, 10] = 50;
        Tensor h1 = hidden.clone().requires_grad_(true), w1 = head.clone().requires_grad_(true), h2 = hidden.clone().requires_grad_(true), w2 = head.clone().requires_grad_(true);

        LossResult plain = loss.ComputePlain(matmul(h1, w1.t()), targets);
        LossResult chunked = loss.ComputeChunked(h2, w2, targets, new ModuleOptions { Kernels = kernels });
        (plain.Total / 2).backward();
        (chunked.Total / 2).backward();

        Assert.Equal(plain.Total.item<float>(), chunked.Total.item<float>(), 1e-5);
        Assert.Equal(plain.CrossEntropy.item<float>(), chunked.CrossEntropy.item<float>(), 1e-5);
        Assert.Equal(plain.ZLoss.item<float>(), chunked.ZLoss.item<float>(), 1e-5);
        Assert.Equal(targets.ne(50).sum().item<long>(), (long)chunked.ValidTargets.item<float>());
        TensorAssert.CloseNorm(h1.grad!, h2.grad!, 1e-5, "hidden");
        TensorAssert.CloseNorm(w1.grad!, w2.grad!, 1e-5, "head");
    }

    [Fact]
    public void Cross_entropy_is_libtorchs()
    {
        using var scope = NewDisposeScope();
        Tensor logits = randn(2, 9, 33) * 5, targets = SmallModels.Ids(2, 9, 33);
        targets[1, 4] = -1;

        foreach (double smoothing in new[] { 0.0, 0.2 })
        {
            float expected = nn.functional.cross_entropy(logits.view(-1, 33), targets.view(-1), ignore_index: -1, label_smoothing: smoothing).item<float>();
            Assert.Equal(expected, new CausalLMLoss(new LossOptions { LabelSmoothing = smoothing }).ComputePlain(logits, targets).CrossEntropy.item<float>(), 1e-5);
        }
    }

    // Section 14 of the reference: uniform logits over 32128 rows, and the constant of one ignored position.
    [Theory]
    [InlineData(KernelChoice.Fused)]
    [InlineData(KernelChoice.Torch)]
    public void Uniform_logits_give_the_constants_of_the_reference(KernelChoice kernels)
    {
        using var scope = NewDisposeScope();
        Tensor hidden = zeros(1, 2, 4), head = randn(32128, 4), targets = tensor(new long[] { 17, 32000 }, [1, 2]);
        LossResult Loss(bool counting) => new CausalLMLoss(new LossOptions { IgnoreIndex = 32000, CountIgnoredInZLoss = counting })
            .ComputeChunked(hidden, head, targets, new ModuleOptions { Kernels = kernels });

        Assert.Equal(10.377483203, Loss(false).CrossEntropy.item<float>(), 2e-6);
        Assert.Equal(0.0107692158, Loss(false).ZLoss.item<float>(), 1e-8);
        Assert.Equal(2 * 0.0107692158, Loss(true).ZLoss.item<float>(), 1e-8);
    }

    [Fact]
    public void Large_logits_do_not_overflow()
    {
        using var scope = NewDisposeScope();
        Tensor hidden = tensor(new float[] { 200, -200 }, [1, 1, 2]), head = tensor(new float[] { 1, 0, 0, 1, 1, -1, -1, 1 }, [4, 2]);

        LossResult loss = new CausalLMLoss(new LossOptions { ZLossFactor = 0 }).ComputeChunked(hidden, head, tensor(new long[] { 0 }, [1, 1]), new ModuleOptions());

        Assert.Equal(200, loss.Total.item<float>(), 1e-3); // the largest logit is 400, the target's 200
    }

    [Fact]
    public void A_target_outside_the_vocabulary_is_an_error()
    {
        using var scope = NewDisposeScope();
        var e = Assert.Throws<ArgumentException>(() => new CausalLMLoss().ComputeChunked(randn(1, 2, 4), randn(9, 4), tensor(new long[] { 1, 9 }, [1, 2]), new ModuleOptions()));
        Assert.Contains("The target 9", e.Message);
    }

    [Fact]
    public void Impossible_options_are_all_reported() =>
        Assert.Equal(4, Assert.Throws<OpenElmException>(() => new CausalLMLoss(new LossOptions { ZLossFactor = double.NaN, LabelSmoothing = 1, ChunkRows = -1 })).Message.Split('\n').Length);
}
