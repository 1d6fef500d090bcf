using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Torch;

public sealed class TorchLibraryTests
{
    [Fact]
    public void Says_what_is_loaded()
    {
        TorchDescription description = TorchLibrary.Describe();

        Assert.True(Directory.Exists(description.Folder), description.Folder);
        Assert.True(File.Exists(description.Shim), description.Shim);
        Assert.Matches(@"^2\.\d+$", description.Version);
        Assert.Equal(get_num_threads(), description.Threads);
        Assert.Equal(description.CudaAvailable, description.CudaDevices > 0);
    }

    [Fact]
    public void Loading_again_changes_nothing_and_another_folder_is_refused()
    {
        string folder = TorchLibrary.Describe().Folder;
        TorchLibrary.EnsureLoaded();
        TorchLibrary.EnsureLoaded(new TorchOptions { Folder = folder });

        var e = Assert.Throws<OpenElmException>(() => TorchLibrary.EnsureLoaded(new TorchOptions { Folder = Path.GetTempPath() }));

        Assert.Contains(folder, e.Message);
    }

    [Fact]
    public void A_folder_without_libtorch_is_refused_before_anything_is_loaded()
    {
        using var folder = new TemporaryFolder();

        Assert.Contains("holds no libtorch", Assert.Throws<OpenElmException>(() => TorchLibrary.FindTorch(folder.Path)).Message);
    }

    [Fact]
    public void A_library_that_does_not_load_gives_the_loaders_words()
    {
        using var folder = new TemporaryFolder();
        string path = folder[NativeNames.FileName("c10")];
        File.WriteAllText(path, "not a library");

        var e = Assert.Throws<OpenElmException>(() => TorchLibrary.LoadOne(path));

        Assert.Contains(path, e.Message);
        Assert.Contains(TorchOptions.FolderVariable, e.Message);
        Assert.Contains(OperatingSystem.IsLinux() ? "file too short" : "", e.Message);
    }

    [Fact]
    public void A_folder_may_be_named_by_its_parent()
    {
        using var folder = new TemporaryFolder();
        string lib = Directory.CreateDirectory(folder["torch/lib"]).FullName;
        foreach (string library in NativeNames.Required)
        {
            File.WriteAllText(Path.Combine(lib, NativeNames.FileName(library)), "");
        }

        Assert.Equal(lib, TorchLibrary.FindTorch(folder.Path));
        Assert.Equal(lib, TorchLibrary.FindTorch(lib));
    }
}
