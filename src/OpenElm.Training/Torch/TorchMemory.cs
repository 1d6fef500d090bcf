using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>The device memory that libtorch holds back for later tensors.</summary>
internal static class TorchMemory
{
    const long MoreThanAnyDeviceHas = 1L << 50;

    /// <summary>Gives it back to the device.</summary>
    /// <param name="device">The GPU.</param>
    /// <remarks>Plain C has no function for it. But libtorch does it before it says that memory is too short, and it is asked for more than there can be.</remarks>
    public static void ReleaseReserve(Device device)
    {
        try
        {
            using Tensor tensor = empty([MoreThanAnyDeviceHas], ScalarType.Byte, device);
        }
        catch (ExternalException)
        {
        }
    }
}
