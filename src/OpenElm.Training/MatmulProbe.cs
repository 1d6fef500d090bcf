using System.Diagnostics;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>Measures what the device's matrix products reach, the yardstick of utilisation and of planned time.</summary>
public static class MatmulProbe
{
    /// <summary>Times square products for about a fifth of a second and takes the best.</summary>
    /// <param name="device"><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</param>
    /// <param name="precision">The type of the products is that of training with this precision.</param>
    /// <returns>Floating-point operations a second.</returns>
    public static double Measure(string device, Precision precision)
    {
        bool cuda = device.StartsWith("cuda", StringComparison.Ordinal);
        int size = cuda ? 8192 : 1024;
        ScalarType type = precision == Precision.Fp32 ? ScalarType.Float32 : ScalarType.BFloat16;
        using var noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        using Tensor a = rand(size, size, type, TorchLibrary.Device(device)), b = rand(size, size, type, TorchLibrary.Device(device));

        double best = double.PositiveInfinity;
        long end = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 5);
        for (int i = 0; i < 3 || Stopwatch.GetTimestamp() < end; i++)
        {
            long start = Stopwatch.GetTimestamp();
            using (a.matmul(b))
            {
                if (cuda)
                {
                    torch.cuda.synchronize();
                }
            }

            best = i == 0 ? best : Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds); // the first run warms up
        }

        return 2.0 * size * size * size / best;
    }
}
