using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Losses;
using OpenElm.Training.Optimization;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests;

/// <summary>Tests of what belongs to the whole process (live tensors, threads): nothing runs beside them.</summary>
[CollectionDefinition(nameof(ProcessWide), DisableParallelization = true)]
public sealed class ProcessWide;

[Collection(nameof(ProcessWide))]
public sealed class ProcessWideTests
{
    [Theory]
    [InlineData(KernelChoice.Fused, false)]
    [InlineData(KernelChoice.Fused, true)]
    [InlineData(KernelChoice.Torch, false)]
    public void Live_tensors_stay_the_same_over_updates(KernelChoice kernels, bool checkpointing)
    {
        using OpenElmModule module = SmallModels.Create(SmallModels.Layerwise, new ModuleOptions { Kernels = kernels, ActivationCheckpointing = checkpointing });
        using var optimizer = new AdamW(module.Weights) { LearningRate = 1e-3 };
        var loss = new CausalLMLoss();
        long afterWarmup = 0;
        for (int step = 0; step < 12; step++)
        {
            using (NewDisposeScope())
            {
                Tensor ids = SmallModels.Ids(2, 16, 101, step);
                loss.Compute(module, ids, ids).Total.backward();
                GradientClipping.ClipByGlobalNorm(module.Weights, 1);
                optimizer.Step();
                optimizer.ZeroGrad();
            }

            afterWarmup = step == 3 ? Tensor.TotalCount : afterWarmup;
        }

        Assert.InRange(Tensor.TotalCount, 0, afterWarmup);
    }

    [Fact]
    public void Calls_leave_no_tensors_behind()
    {
        using var scope = NewDisposeScope();
        Tensor x = randn(64, 64), y = empty(64, 64), weight = ones(64), factor = tensor(0.5f);
        GC.Collect(); // what earlier tests have left would go meanwhile
        GC.WaitForPendingFinalizers();
        long before = Tensor.TotalCount;
        for (int i = 0; i < 100; i++)
        {
            Dispatcher.MatMul(x, x, y);
            Dispatcher.ForeachMultiply([y], factor);
            Dispatcher.RmsNorm(x, weight, 1e-6).Dispose();
        }

        Assert.Equal(before, Tensor.TotalCount);
    }

    [Fact]
    public void Sums_do_not_depend_on_the_number_of_threads()
    {
        using var scope = NewDisposeScope();
        var fused = new FusedKernels();
        Tensor x = randn(300, 65), dy = randn(300, 65);
        int before = get_num_threads();
        try
        {
            List<Tensor> gradients = [];
            foreach (int threads in new[] { 1, 2, 3 })
            {
                set_num_threads(threads);
                Tensor weight = ones(65, requires_grad: true);
                fused.RmsNorm(x, weight, 1e-6).backward([dy]);
                gradients.Add(weight.grad!);
            }

            TensorAssert.Same(gradients[0], gradients[1]);
            TensorAssert.Same(gradients[0], gradients[2]);
        }
        finally
        {
            set_num_threads(before);
        }
    }
}
