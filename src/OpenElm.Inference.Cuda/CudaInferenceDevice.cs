using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>An NVIDIA GPU, through its driver, its run-time compiler and cuBLASLt; no libtorch. Give it to <see cref="InferenceOptions.Device"/>.</summary>
public sealed class CudaInferenceDevice : InferenceDevice
{
    const int Hopper = 90;

    readonly CudaDevice _device;
    readonly CudaPrecision _precision;

    CudaInferenceDevice(CudaDevice device, CudaPrecision precision) => (_device, _precision) = (device, precision);

    /// <inheritdoc/>
    public override string Name => _device.Name;

    /// <summary>Opens the first GPU, if it can be used.</summary>
    /// <param name="precision">How weights are kept on it.</param>
    /// <param name="reason">Why it cannot be used, as the end of a sentence; null if it can.</param>
    /// <returns>The GPU; null if there is none to use.</returns>
    public static CudaInferenceDevice? TryOpen(CudaPrecision precision, out string? reason)
    {
        if (!CudaLibraries.AreAvailable(out reason))
        {
            return null;
        }

        try
        {
            var device = new CudaDevice();
            if (device.ComputeCapability >= Hopper)
            {
                return new CudaInferenceDevice(device, precision);
            }

            reason = $"{device.Name} has compute capability {device.ComputeCapability / 10}.{device.ComputeCapability % 10}; the kernels need 9.0 (Hopper) or later";
        }
        catch (CudaException e)
        {
            reason = e.Message;
        }

        return null;
    }

    internal override InferenceBackend Load(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> weights, IReadOnlyList<ScaledAdapter> adapters, InferenceOptions options)
    {
        if (options.KvCache == KvCacheType.I8 && !DecodeKernels.HasWideHeads(config))
        {
            throw new OpenElmException($"The GPU keeps keys and values of 8 bits for heads of 16, 32, 64, 128 or 256 only; this model's have {config.HeadDim}. Leave the KV cache type out.");
        }

        if (options.Kernels is not null)
        {
            throw new OpenElmException($"The GPU has one kernel set only, and none is called {options.Kernels}. Leave the name out.");
        }

        if (options.LayerNorm && weights.Values.Any(weight => PackedRows.FormatOf(weight) != PackedFormat.Plain))
        {
            throw new OpenElmException("LayerNorm is measured with numbers of 16 or 32 bits only; this model's are packed in blocks.");
        }

        try
        {
            _device.MakeCurrent();
            return new CudaBackend(_device, config, weights, adapters, _precision, options);
        }
        catch (CudaException e)
        {
            throw new OpenElmException($"The model cannot be opened on {Name}: {e.Message}");
        }
    }
}
