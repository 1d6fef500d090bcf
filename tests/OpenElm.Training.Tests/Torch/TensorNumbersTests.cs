using OpenElm.Training.Torch;
using TorchSharp;
using static OpenElm.Training.Torch.TensorNumbers;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Torch;

public sealed class TensorNumbersTests
{
    [Fact]
    public void Numbers_live_while_an_operator_reads_them()
    {
        TorchLibrary.EnsureLoaded();
        using Tensor x = ones(64), y = ones(64) * 3;
        using var stop = new CancellationTokenSource();
        // Collects and frees all the time, and puts other numbers in the places that were freed.
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                for (int i = 0; i < 100; i++)
                {
                    _ = (Scalar)7.5;
                }

                GC.Collect(0, GCCollectionMode.Forced, blocking: true);
                GC.WaitForPendingFinalizers();
            }
        });
        collector.Start();
        try
        {
            for (int i = 0; i < 20_000; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor sum = (x.Plus(y) * Number(2)).Plus(Number(1)) - Number(0.5);
                sum.Add(y).Add(Number(4));
                Assert.Equal(8.5f + 7, sum[i % 64].item<float>());
            }
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
    }

    [Fact]
    public void Integers_stay_integers()
    {
        TorchLibrary.EnsureLoaded();
        using DisposeScope scope = NewDisposeScope();
        Tensor numbers = Range(5, ScalarType.Int64, CPU);
        Assert.Equal([0, 1, 2, 3, 4], numbers.data<long>().ToArray());
        Tensor shifted = (numbers * Number(3)).Plus(Number(1L << 40));
        Assert.Equal(ScalarType.Int64, shifted.dtype);
        Assert.Equal((1L << 40) + 12, shifted[4].item<long>());
        Assert.Equal([0f, 5f], zeros(2).PlusAt(0, tensor(new long[] { 1, 1 }), tensor(new[] { 2f, 3f })).data<float>().ToArray());
    }
}
