using OpenElm.Training.Torch;

[assembly: AssemblyFixture(typeof(OpenElm.Training.Tests.LoadedTorch))]

namespace OpenElm.Training.Tests;

/// <summary>Loads libtorch before any test touches TorchSharp itself.</summary>
public sealed class LoadedTorch
{
    public LoadedTorch() => TorchLibrary.EnsureLoaded();
}
