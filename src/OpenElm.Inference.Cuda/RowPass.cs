using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>One token of one sequence, as kernels read it.</summary>
/// <param name="Token">Its id.</param>
/// <param name="Position">Its position.</param>
/// <param name="Capacity">Of the sequence's cache.</param>
/// <param name="Reserved">Nothing.</param>
/// <param name="Cache">The sequence's cache.</param>
internal readonly record struct DeviceRow(int Token, int Position, int Capacity, int Reserved, nint Cache);

/// <summary>The architecture on the device for many rows at once: matrix products by cuBLASLt, the steps between them by kernels of <c>pass.cu</c>.</summary>
internal sealed class RowPass : IDisposable
{
    /// <summary>Rows that go through the layers together; longer prompts go in several passes.</summary>
    public const int MostRows = 1024;

    const int WorkspaceBytes = 32 << 20, AttentionWarps = 8, TileQueries = 64;

    readonly OpenElmConfig _config;
    readonly DeviceWeights _weights;
    readonly CudaPrecision _precision;
    readonly KernelModule _module;
    readonly Kernel _embed, _norm, _rotate, _attend, _activate;
    readonly DeviceMemory _workspace = new(WorkspaceBytes);
    readonly MatrixProducts _products;
    readonly nint _stream;
    readonly Kernel? _attendTiles;
    readonly int _group, _widestQkv, _widestHeads, _widestFfn;
    DeviceMemory? _memory;
    int _room, _logitRoom;

    public RowPass(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, CudaDevice device, nint stream)
    {
        (_config, _weights, _precision, _stream) = (config, weights, precision, stream);
        _module = new KernelModule(DecodeKernels.Compile("pass", device.ComputeCapability, config, precision, null));
        (_embed, _norm, _rotate, _attend, _activate) = (_module["embed"], _module["rms_norm"], _module["rotate_and_store"], _module["attend"], _module["activate"]);
        _group = config.Layers[0].QueryHeadsPerKvHead;
        bool hasTiles = precision == CudaPrecision.Bf16 && config.HeadDim % 16 == 0 && config.HeadDim <= 128 && TileQueries % _group == 0 && config.Layers.All(layer => layer.QueryHeadsPerKvHead == _group);
        _attendTiles = hasTiles ? _module["attend_tiles"] : null;
        _products = new MatrixProducts(_workspace.Address, WorkspaceBytes, device.Name);
        _widestQkv = config.Layers.Max(layer => (layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim);
        _widestHeads = config.Layers.Max(layer => layer.QueryHeads * config.HeadDim);
        _widestFfn = config.Layers.Max(layer => layer.FfnDim);
    }

    MatrixType Type => _precision == CudaPrecision.Bf16 ? MatrixType.Bf16 : MatrixType.Fp32;

    int ElementBytes => _precision == CudaPrecision.Bf16 ? 2 : 4;

    /// <summary>Runs rows; those of a sequence follow each other, and their keys and values join its cache.</summary>
    /// <param name="rows">[rows].</param>
    /// <param name="picked">The rows whose logits are wanted.</param>
    /// <param name="cos">[positions, headDim / 2].</param>
    /// <param name="sin">[positions, headDim / 2].</param>
    /// <param name="logits">[picked, vocab]; there on return.</param>
    public void Run(ReadOnlySpan<DeviceRow> rows, ReadOnlySpan<int> picked, nint cos, nint sin, Span<float> logits)
    {
        int count = rows.Length, d = _config.ModelDim, glued = _config.FfnWithGlu ? 2 : 1;
        float eps = (float)_config.RmsNormEps;
        Reserve(count, picked.Length);
        nint next = _memory!.Address;
        nint Take(long bytes)
        {
            nint taken = next;
            next += (nint)((bytes + 255) / 256 * 256);
            return taken;
        }

        nint x = Take((long)_room * d * 4), qkv = Take((long)_room * _widestQkv * ElementBytes), gateUp = Take((long)_room * glued * _widestFfn * ElementBytes);
        nint normed = Take((long)_room * d * ElementBytes), heads = Take((long)_room * _widestHeads * ElementBytes), active = Take((long)_room * _widestFfn * ElementBytes);
        nint deviceRows = Take((long)_room * Marshal.SizeOf<DeviceRow>()), devicePicked = Take(_room * 4L), deviceTiles = Take(_room * 8L), deviceLogits = Take((long)_logitRoom * _config.VocabSize * 4);
        CudaDevice.Copy(rows, deviceRows, _stream);
        CudaDevice.Copy(picked, devicePicked, _stream);
        int tiles = _attendTiles is null ? 0 : SendTiles(rows, deviceTiles);

        _embed.Launch(_stream, (count, 1), 256, deviceRows, _weights.Embedding, x, d);
        foreach (DeviceLayer layer in _weights.Layers)
        {
            LayerShape shape = layer.Shape;
            int queryWidth = shape.QueryHeads * _config.HeadDim, allHeads = shape.QueryHeads + (2 * shape.KvHeads);
            _norm.Launch(_stream, (count, 1), 256, x, layer.AttnNorm, normed, (nint)0, d, eps);
            Multiply(normed, layer.QkvProj, qkv, count, allHeads * _config.HeadDim, d, Type);
            _rotate.Launch(_stream, (Blocks(allHeads, 8), count), 256, qkv, deviceRows, layer.QNorm, layer.KNorm, cos, sin, layer.FirstKvHead, shape.QueryHeads, shape.KvHeads, eps);
            if (_attendTiles is { } attendTiles)
            {
                attendTiles.LaunchShared(
                    _stream, (tiles, shape.KvHeads), 128, 2 * TileQueries * (_config.HeadDim + 8) * sizeof(ushort),
                    qkv, deviceRows, deviceTiles, heads, layer.FirstKvHead, shape.QueryHeads, shape.KvHeads);
            }
            else
            {
                _attend.LaunchShared(
                    _stream, (Blocks(shape.QueryHeads, AttentionWarps), count), 32 * AttentionWarps, AttentionWarps * _config.HeadDim * sizeof(float),
                    qkv, deviceRows, heads, layer.FirstKvHead, shape.QueryHeads, shape.KvHeads);
            }

            Multiply(heads, layer.OutProj, x, count, d, queryWidth, MatrixType.Fp32, add: true);
            _norm.Launch(_stream, (count, 1), 256, x, layer.FfnNorm, normed, (nint)0, d, eps);
            Multiply(normed, layer.Proj1, gateUp, count, glued * shape.FfnDim, d, Type);
            _activate.Launch(_stream, (Blocks(shape.FfnDim, 8 * 128), count), 128, gateUp, active, shape.FfnDim, glued - 1);
            Multiply(active, layer.Proj2, x, count, d, shape.FfnDim, MatrixType.Fp32, add: true);
        }

        if (picked.IsEmpty)
        {
            CudaDevice.Synchronize(_stream);
            return;
        }

        _norm.Launch(_stream, (picked.Length, 1), 256, x, _weights.FinalNorm, normed, devicePicked, d, eps);
        Multiply(normed, _weights.Head, deviceLogits, picked.Length, _config.VocabSize, d, MatrixType.Fp32);
        DeviceMemory.CopyBack(deviceLogits, logits[..(picked.Length * _config.VocabSize)], _stream);
    }

    public void Dispose()
    {
        _memory?.Dispose();
        _products.Dispose();
        _workspace.Dispose();
        _module.Dispose();
    }

    // y = x · weightsᵀ (+ y): [rows, inner] → [rows, columns]
    void Multiply(nint x, nint weights, nint y, int rows, int columns, int inner, MatrixType result, bool add = false) =>
        _products.Multiply(new ProductShape(rows, columns, inner, TransposeA: false, TransposeB: true, Type, result, add ? 1 : 0), x, weights, y, _stream);

    // Rows that neighbour each other in a sequence: as many as, with all query heads of a KV head, are a tile of queries.
    int SendTiles(ReadOnlySpan<DeviceRow> rows, nint target)
    {
        int most = TileQueries / _group;
        var tiles = new List<int>();
        for (int first = 0, count; first < rows.Length; first += count)
        {
            count = 1;
            while (count < most && first + count < rows.Length && rows[first + count].Cache == rows[first].Cache && rows[first + count].Position == rows[first].Position + count)
            {
                count++;
            }

            tiles.AddRange(first, count);
        }

        CudaDevice.Copy<int>(CollectionsMarshal.AsSpan(tiles), target, _stream);
        return tiles.Count / 2;
    }

    void Reserve(int rows, int logitRows)
    {
        if (_memory is not null && rows <= _room && logitRows <= _logitRoom)
        {
            return;
        }

        CudaDevice.Synchronize(_stream);
        _memory?.Dispose();
        _memory = null;
        (_room, _logitRoom) = (Math.Max(_room, rows), Math.Max(_logitRoom, logitRows));
        long perRow = (4L * _config.ModelDim) + ((long)ElementBytes * (_config.ModelDim + _widestQkv + _widestHeads + (3 * _widestFfn))) + Marshal.SizeOf<DeviceRow>() + 12;
        _memory = new DeviceMemory((perRow * _room) + (4L * _logitRoom * _config.VocabSize) + (16 * 256));
    }

    static int Blocks(int items, int each) => (items + each - 1) / each;
}
