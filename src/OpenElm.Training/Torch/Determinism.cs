using System.Runtime.InteropServices;

namespace OpenElm.Training.Torch;

/// <summary>libtorch's switch for operators that give the same bits every time, as <c>torch.use_deterministic_algorithms</c> sets it.</summary>
/// <remarks>It is global and makes some operators fail, so it is on only around calls that need it. Its C++ functions are called by their mangled names.</remarks>
internal readonly unsafe ref struct Determinism
{
    const string Context = "_ZN2at13globalContextEv", Set = "_ZN2at7Context26setDeterministicAlgorithmsEbb";

    readonly bool _isOn;

    Determinism(bool isOn)
    {
        _isOn = isOn;
        Switch(isOn);
    }

    /// <summary>Whether the loaded libtorch has the switch under these names.</summary>
    public static bool IsAvailable => NativeLibrary.TryGetExport(TorchLibrary.CpuHandle, Context, out _) && NativeLibrary.TryGetExport(TorchLibrary.CpuHandle, Set, out _);

    /// <summary>Turns it on until the result is disposed.</summary>
    /// <param name="wanted">Whether to do anything.</param>
    public static Determinism During(bool wanted) => wanted ? new Determinism(true) : default;

    /// <summary>Turns it off again.</summary>
    public void Dispose()
    {
        if (_isOn)
        {
            Switch(false);
        }
    }

    static void Switch(bool on)
    {
        nint context = ((delegate* unmanaged<nint>)NativeLibrary.GetExport(TorchLibrary.CpuHandle, Context))();
        ((delegate* unmanaged<nint, byte, byte, void>)NativeLibrary.GetExport(TorchLibrary.CpuHandle, Set))(context, (byte)(on ? 1 : 0), 0);
    }
}
