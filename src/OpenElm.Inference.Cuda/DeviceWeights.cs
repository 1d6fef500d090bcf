using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>The weights of one layer on the device; matrices are [outputs, inputs] row after row, norms are floats.</summary>
internal sealed record DeviceLayer(LayerShape Shape, int FirstKvHead, nint AttnNorm, nint QkvProj, nint QNorm, nint KNorm, nint OutProj, nint FfnNorm, nint Proj1, nint Proj2);

/// <summary>
/// What a model has learned, on the device, in one piece of memory: copied from where the file is mapped, converted on the way where it is stored
/// otherwise, adapters added.
/// </summary>
internal sealed class DeviceWeights : IDisposable
{
    readonly DeviceMemory _memory;

    public DeviceWeights(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> stored, IReadOnlyList<ScaledAdapter> adapters, CudaPrecision precision, nint stream)
    {
        ImmutableDictionary<string, Func<LowRankUpdate>> updates = LowRankUpdate.ByWeight(adapters);
        WeightPlan plan = WeightPlan.Of(config, precision, embeddingApart: updates.ContainsKey(TensorNames.Embedding));
        _memory = new DeviceMemory(plan.Bytes);
        nint At(string name) => _memory.Address + (nint)plan.Places[name].Offset;
        foreach ((string name, WeightPlace place) in plan.Places)
        {
            bool isHead = name == WeightPlan.Head;
            StoredWeight weight = stored[isHead && config.ShareInputOutputLayers ? TensorNames.Embedding : isHead ? TensorNames.Classifier : name];
            Send(weight, place, updates.TryGetValue(name, out Func<LowRankUpdate>? update) ? update() : null, At(name), stream);
        }

        int heads = 0;
        Layers = [.. config.Layers.Select((shape, i) =>
        {
            nint Named(string name) => At(TensorNames.Layer(i, name));
            heads += shape.KvHeads;
            return new DeviceLayer(
                shape, heads - shape.KvHeads, Named("attn_norm"), Named("attn.qkv_proj"), config.NormalizeQkProjections ? Named("attn.q_norm") : 0,
                config.NormalizeQkProjections ? Named("attn.k_norm") : 0, Named("attn.out_proj"), Named("ffn_norm"), Named("ffn.proj_1"), Named("ffn.proj_2"));
        })];
        (KvHeads, FinalNorm, Head) = (heads, At(TensorNames.FinalNorm), At(WeightPlan.Head));
        Embedding = plan.Places.ContainsKey(TensorNames.Embedding) ? At(TensorNames.Embedding) : Head;
        TokenBytes = plan.TokenBytes;
        CudaDevice.Synchronize(stream);
    }

    public ImmutableArray<DeviceLayer> Layers { get; }

    /// <summary>KV heads of all layers.</summary>
    public int KvHeads { get; }

    public nint FinalNorm { get; }

    /// <summary>[vocab, modelDim].</summary>
    public nint Head { get; }

    /// <summary>[vocab, modelDim]: the head itself, if it is tied.</summary>
    public nint Embedding { get; }

    /// <summary>Bytes of matrices that a token reads.</summary>
    public long TokenBytes { get; }

    /// <summary>The first byte, for measurements.</summary>
    public nint Address => _memory.Address;

    public long Bytes => _memory.Bytes;

    public void Dispose() => _memory.Dispose();

    static void Send(StoredWeight weight, WeightPlace place, LowRankUpdate? update, nint target, nint stream)
    {
        const int Floats = 1 << 22;
        int columns = checked((int)(place.Elements / place.Rows)), step = Math.Max(1, Floats / columns);
        if (update is null && place.IsBf16 && weight.Parts.All(part => part.DType == DType.BF16))
        {
            foreach (TensorView part in weight.Parts)
            {
                for (long at = 0; at < part.ByteCount; at += 1 << 30)
                {
                    CudaDevice.Copy(Window(part.Address + (nint)at, Math.Min(1 << 30, part.ByteCount - at)), target, stream);
                    target += (nint)Math.Min(1 << 30, part.ByteCount - at);
                }
            }

            return;
        }

        float[] floats = new float[step * columns];
        ushort[] halves = place.IsBf16 ? new ushort[floats.Length] : [];
        double[] row = update is null ? [] : new double[columns];
        for (int first = 0; first < place.Rows; first += step)
        {
            int rows = Math.Min(step, place.Rows - first);
            Span<float> values = floats.AsSpan(0, rows * columns);
            if (weight.Shape.Length == 1)
            {
                weight.CopyTo(values);
            }
            else
            {
                weight.CopyRowsTo(first, rows, values);
            }

            for (int r = 0; r < rows && update is not null; r++)
            {
                Span<float> own = values.Slice(r * columns, columns);
                for (int i = 0; i < columns; i++)
                {
                    row[i] = own[i];
                }

                update.Apply(first + r, row);
                for (int i = 0; i < columns; i++)
                {
                    own[i] = (float)row[i];
                }
            }

            if (place.IsBf16)
            {
                for (int i = 0; i < values.Length; i++)
                {
                    halves[i] = FloatEncoding.ToBFloat16(values[i]);
                }

                CudaDevice.Copy<ushort>(halves.AsSpan(0, values.Length), target, stream);
                target += values.Length * sizeof(ushort);
            }
            else
            {
                CudaDevice.Copy<float>(values, target, stream);
                target += values.Length * sizeof(float);
            }
        }
    }

    static unsafe ReadOnlySpan<byte> Window(nint address, long count) => MemoryMarshal.CreateReadOnlySpan(ref *(byte*)address, (int)count);
}
