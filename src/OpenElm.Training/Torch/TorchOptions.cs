namespace OpenElm.Training.Torch;

/// <summary>Which libtorch to use and how.</summary>
public sealed record TorchOptions
{
    /// <summary>The environment variable that names a folder of libtorch.</summary>
    public const string FolderVariable = "OPENELM_TORCH";

    /// <summary>
    /// A folder that holds libtorch: the <c>lib</c> folder of a CUDA or CPU build, or <c>site-packages/torch/lib</c> of a
    /// PyTorch installation. Null: the environment variable <see cref="FolderVariable"/>, else the libraries beside the program.
    /// </summary>
    public string? Folder { get; init; }
}

/// <summary>What <c>openelm info</c> says about libtorch.</summary>
/// <param name="Folder">The folder libtorch was loaded from.</param>
/// <param name="Version">Its version, for example <c>2.10</c>.</param>
/// <param name="Shim">The file of TorchSharp's own native library.</param>
/// <param name="ShimPatched">Whether that file is a copy that accepts this system's older C++ library.</param>
/// <param name="CudaAvailable">Whether a CUDA device can be used.</param>
/// <param name="CudaDevices">How many.</param>
/// <param name="Blas">The library behind matrix products on the CPU.</param>
/// <param name="Threads">Threads of one operation on the CPU.</param>
public sealed record TorchDescription(
    string Folder, string Version, string Shim, bool ShimPatched, bool CudaAvailable, int CudaDevices, string Blas, int Threads);
