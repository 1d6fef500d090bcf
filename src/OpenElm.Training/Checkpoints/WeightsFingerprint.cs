using System.IO.Hashing;
using System.Text;
using OpenElm.Checkpoints;

namespace OpenElm.Training;

/// <summary>A checksum of all weights of a model folder, for what was computed with them and must not be used with others.</summary>
internal static class WeightsFingerprint
{
    /// <summary>Reads all weights once.</summary>
    /// <param name="model">The folder.</param>
    /// <returns>XxHash3 of names, types, shapes and bytes, in lower-case hexadecimal.</returns>
    public static string Of(ModelFolder model)
    {
        var hash = new XxHash3();
        foreach ((string name, TensorView tensor) in model.Weights.OrderBy(entry => entry.Key, StringComparer.Ordinal))
        {
            hash.Append(Encoding.UTF8.GetBytes($"{name} {tensor.DType} {string.Join(',', tensor.Shape)}\n"));
            using UnmanagedMemoryStream bytes = tensor.OpenRead();
            hash.Append(bytes);
            model.ReleasePages();
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }
}
