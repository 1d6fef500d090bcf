using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>The CUDA C++ of this project's <c>Kernels</c>, compiled for one architecture and one model.</summary>
internal static class DecodeKernels
{
    /// <summary>Compiles one file; needs no GPU.</summary>
    /// <param name="name">The file.</param>
    /// <param name="computeCapability">90 is Hopper.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="precision">Of weights.</param>
    /// <param name="step">How a step is laid out; the file <c>pass</c> needs none.</param>
    /// <param name="formats">How a step's matrices are kept; null: all are plain.</param>
    /// <param name="cacheIsBytes">Whether keys and values have 8 bits, and a factor for each head of a position.</param>
    /// <param name="profile">Whether a step notes when its phases end.</param>
    /// <param name="layerNorm">Whether LayerNorm is in the place of RMSNorm.</param>
    /// <returns>Machine code.</returns>
    /// <exception cref="CudaException">The compiler refuses it.</exception>
    public static byte[] Compile(
        string name, int computeCapability, OpenElmConfig config, CudaPrecision precision, StepLayout? step, IReadOnlySet<PackedFormat>? formats = null, bool cacheIsBytes = false, bool profile = false, bool layerNorm = false)
    {
        var constants = new Dictionary<string, string>
        {
            ["BF16"] = precision == CudaPrecision.Bf16 ? "1" : "0",
            ["HEAD_DIM"] = Text(config.HeadDim),
            ["GROUP"] = Text(GroupOf(config)),
            ["CACHE8"] = cacheIsBytes ? "1" : "0",
            ["LAYER_NORM"] = layerNorm ? "1" : "0",
        };
        if (step is not null && name == "step")
        {
            constants["MODEL_DIM"] = Text(config.ModelDim);
            constants["GATED"] = config.FfnWithGlu ? "1" : "0";
            constants["WARPS"] = Text(step.Warps);
            constants["RING_BYTES"] = Text(step.RingBytes);
            constants["MAPS"] = Text(step.Maps);
            constants["EACHES"] = Text(Has(PackedFormat.Plain) ? step.EachesOf(config) : 0);
            constants["PAIRS"] = Text(Has(PackedFormat.Bytes) ? step.MostPacked(config, PackedFormat.Bytes) : 0);
            constants["QUADS"] = Text(Has(PackedFormat.Nibbles) ? step.MostPacked(config, PackedFormat.Nibbles) : 0);
            constants["LAYERS"] = Text(config.Layers.Length);
            (int ownRows, int sumRows, int totalRows) = StepLayout.Shares(config, step.Blocks);
            constants["OWN_ROWS"] = Text(ownRows);
            constants["SUM_ROWS"] = Text(sumRows);
            constants["TOTAL_ROWS"] = Text(totalRows);
            constants["OWN_BYTES"] = Text(step.OwnBytes);
            constants["SHARED_BYTES"] = Text(step.SharedBytes);
            constants["PROFILE"] = profile ? "1" : "0";
            constants["FLYING"] = Text(step.Variant.FlyingBytes);
            constants["AHEAD"] = Text(step.Variant.AheadBytes);
        }

        return KernelCompiler.Compile(name, Source("device") + Source(name), computeCapability, constants);

        bool Has(PackedFormat format) => formats?.Contains(format) ?? format == PackedFormat.Plain;
    }

    /// <summary>Changes with a file's text.</summary>
    /// <param name="name">The file.</param>
    /// <returns>Eight letters.</returns>
    public static string Version(string name) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Source("device") + Source(name))))[..8];

    /// <summary>Query heads of a KV head, where kernels that hold a group in registers can be compiled; else 0.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>The group.</returns>
    public static int GroupOf(OpenElmConfig config)
    {
        int group = config.Layers[0].QueryHeadsPerKvHead;
        return group <= 8 && config.HeadDim is 8 or 16 or 32 or 64 or 128 or 256 && config.Layers.All(layer => layer.QueryHeadsPerKvHead == group) ? group : 0;
    }

    /// <summary>Whether a few lanes of a warp, with eight neighbouring numbers each, are a head; a cache of 8 bits needs that.</summary>
    /// <param name="config">The architecture.</param>
    /// <returns>Whether it is so.</returns>
    public static bool HasWideHeads(OpenElmConfig config) => config.HeadDim is 16 or 32 or 64 or 128 or 256;

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    static string Source(string name)
    {
        string resource = $"OpenElm.Inference.Cuda.Kernels.{name}.cu";
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(resource) ?? throw new InvalidOperationException($"{resource} is no resource");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
