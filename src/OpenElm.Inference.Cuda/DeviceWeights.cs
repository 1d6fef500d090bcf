using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>The weights of one layer on the device; matrices are [outputs, inputs], norms are floats.</summary>
internal sealed record DeviceLayer(
    LayerShape Shape, int FirstKvHead, nint AttnNorm, DeviceMatrix QkvProj, nint QNorm, nint KNorm, DeviceMatrix OutProj, nint FfnNorm, DeviceMatrix Proj1, DeviceMatrix Proj2);

/// <summary>
/// What a model has learned, on the device, in one piece of memory: copied from where the file is mapped, converted on the way where it is stored
/// otherwise, adapters added.
/// </summary>
internal sealed class DeviceWeights : IDisposable
{
    readonly DeviceMemory _memory;

    public DeviceWeights(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> stored, IReadOnlyList<ScaledAdapter> adapters, CudaPrecision precision, StepLayout? step, nint stream)
    {
        ImmutableDictionary<string, Func<LowRankUpdate>> updates = LowRankUpdate.ByWeight(adapters);
        string headName = config.ShareInputOutputLayers ? TensorNames.Embedding : TensorNames.Classifier;
        // Blocks stay packed where the kernel of a step reads them; rows of the embedding are read one at a time and are unpacked.
        PackedFormat FormatOf(string name) => step is null || precision != CudaPrecision.Bf16 || name == TensorNames.Embedding || updates.ContainsKey(name == WeightPlan.Head ? headName : name)
            ? PackedFormat.Plain : PackedRows.FormatOf(stored[name == WeightPlan.Head ? headName : name]);
        var plan = WeightPlan.Of(config, precision, embeddingApart: updates.ContainsKey(TensorNames.Embedding) || FormatOf(WeightPlan.Head) != PackedFormat.Plain, FormatOf);
        _memory = new DeviceMemory(plan.Bytes);
        nint At(string name) => _memory.Address + (nint)plan.Places[name].Offset;
        foreach ((string name, WeightPlace place) in plan.Places)
        {
            StoredWeight weight = stored[name == WeightPlan.Head ? headName : name];
            if (place.Format != PackedFormat.Plain)
            {
                SendPacked(weight, place, step!.ColumnsOf(place.Format, (int)(place.Elements / place.Rows)), At(name), stream);
                continue;
            }

            Send(weight, place, updates.TryGetValue(name, out Func<LowRankUpdate>? update) ? update() : null, At(name), stream);
        }

        DeviceMatrix MatrixOf(string name)
        {
            WeightPlace place = plan.Places[name];
            return new DeviceMatrix(At(name), place.Format, place.Format == PackedFormat.Plain ? 0 : step!.ColumnsOf(place.Format, (int)(place.Elements / place.Rows)));
        }

        int heads = 0;
        Layers = [.. config.Layers.Select((shape, i) =>
        {
            nint Named(string name) => At(TensorNames.Layer(i, name));
            DeviceMatrix Matrix(string name) => MatrixOf(TensorNames.Layer(i, name));
            heads += shape.KvHeads;
            return new DeviceLayer(
                shape, heads - shape.KvHeads, Named("attn_norm"), Matrix("attn.qkv_proj"), config.NormalizeQkProjections ? Named("attn.q_norm") : 0,
                config.NormalizeQkProjections ? Named("attn.k_norm") : 0, Matrix("attn.out_proj"), Named("ffn_norm"), Matrix("ffn.proj_1"), Matrix("ffn.proj_2"));
        })];
        (KvHeads, FinalNorm, Head) = (heads, At(TensorNames.FinalNorm), MatrixOf(WeightPlan.Head));
        Embedding = plan.Places.ContainsKey(TensorNames.Embedding) ? At(TensorNames.Embedding) : Head.Address;
        TokenBytes = plan.TokenBytes;
        Formats = Layers.SelectMany(layer => (DeviceMatrix[])[layer.QkvProj, layer.OutProj, layer.Proj1, layer.Proj2]).Append(Head).Select(matrix => matrix.Format).ToImmutableHashSet();
        LargestPacked = plan.Places.Values.Where(place => place.Format != PackedFormat.Plain).Select(place => place.Elements).DefaultIfEmpty().Max();
        CudaDevice.Synchronize(stream);
    }

    public ImmutableArray<DeviceLayer> Layers { get; }

    /// <summary>KV heads of all layers.</summary>
    public int KvHeads { get; }

    public nint FinalNorm { get; }

    /// <summary>[vocab, modelDim].</summary>
    public DeviceMatrix Head { get; }

    /// <summary>How matrices that a token reads whole are kept.</summary>
    public ImmutableHashSet<PackedFormat> Formats { get; }

    /// <summary>Numbers of the largest packed matrix; 0 where there is none.</summary>
    public long LargestPacked { get; }

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

    static void SendPacked(StoredWeight weight, WeightPlace place, int columns, nint target, nint stream)
    {
        const int Bytes = 1 << 24;
        int width = checked((int)(place.Elements / place.Rows)), rowBytes = checked((int)PackedRows.Bytes(place.Format, width)), step = Math.Max(1, Bytes / rowBytes);
        foreach (TensorView part in weight.Parts)
        {
            for (long first = 0; first < part.Shape[0]; first += step)
            {
                int rows = (int)Math.Min(step, part.Shape[0] - first);
                byte[] packed = new byte[rows * rowBytes];
                long at = first;
                Parallel.For(0, rows, row => PackedRows.Pack(part.DType, part.Rows(at + row, 1).Bytes, columns, packed.AsSpan(row * rowBytes, rowBytes)));
                CudaDevice.Copy<byte>(packed, target, stream);
                target += packed.Length;
            }
        }
    }

    static unsafe ReadOnlySpan<byte> Window(nint address, long count) => MemoryMarshal.CreateReadOnlySpan(ref *(byte*)address, (int)count);
}
