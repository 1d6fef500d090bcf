using System.IO.Hashing;
using OpenElm.IO;

namespace OpenElm.Training.Torch;

/// <summary>
/// A copy of TorchSharp's native library that accepts an older C++ library. The original is never touched: it may be a
/// hard link into the NuGet cache. Copies are keyed by their content and written atomically, so several processes may race.
/// </summary>
internal static class PatchedShim
{
    /// <summary>Makes the copy, or finds the one made before.</summary>
    /// <param name="shim">The original.</param>
    /// <param name="version">The symbol version to do without.</param>
    /// <param name="folders">Where the copy may stand; the first writable one is used.</param>
    /// <returns>The path of the copy.</returns>
    /// <exception cref="OpenElmException">The original is damaged, does not ask for the version, or no folder is writable.</exception>
    public static string Create(string shim, string version, IEnumerable<string> folders)
    {
        byte[] image = File.ReadAllBytes(shim);
        string key = $"{XxHash3.HashToUInt64(image):x16}-{version}";
        try
        {
            if (ElfVersionNeeds.Weaken(image, version) == 0)
            {
                throw new OpenElmException($"{shim} does not ask for {version}, which the loader misses; another library of the same folder must.");
            }
        }
        catch (InvalidDataException e)
        {
            throw new OpenElmException($"{shim} is damaged: {e.Message}. Delete it and restore the packages again.", e);
        }

        var refused = new List<string>();
        foreach (string folder in folders)
        {
            string copy = Path.Combine(folder, key, Path.GetFileName(shim));
            try
            {
                // An older copy is trusted only if it is what we would write now.
                if (!File.Exists(copy) || !File.ReadAllBytes(copy).AsSpan().SequenceEqual(image))
                {
                    AtomicFile.WriteBytes(copy, image);
                }

                return copy;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                refused.Add($"{folder}: {e.Message}");
            }
        }

        throw OpenElmException.Of($"{shim} needs a patched copy for this system's C++ library, and no folder for it is writable", refused);
    }

    /// <summary>Where copies stand: beside the program, else in the user's cache.</summary>
    public static IEnumerable<string> DefaultFolders()
    {
        yield return Path.Combine(AppContext.BaseDirectory, "openelm-native");
        yield return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "openelm", "native");
        yield return Path.Combine(Path.GetTempPath(), $"openelm-native-{Environment.UserName}");
    }
}
