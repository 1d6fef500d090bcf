using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>One token of one sequence, as kernels read it.</summary>
/// <param name="Token">Its id.</param>
/// <param name="Position">Its position.</param>
/// <param name="Capacity">Of the sequence's cache.</param>
/// <param name="Steps">That a chain has chosen for it.</param>
/// <param name="Cache">The sequence's cache.</param>
internal readonly record struct DeviceRow(int Token, int Position, int Capacity, int Steps, nint Cache);

/// <summary>Which launches a pass is made of; passes of the same shape are one graph.</summary>
/// <param name="Rows">How many.</param>
/// <param name="Picked">Of them, those whose logits are wanted.</param>
/// <param name="Tiles">Of neighbouring rows; 0 where rows are alone or kernels know no tiles.</param>
/// <param name="Splits">Of the longest past of rows that are alone in their sequences; 0 for other rows.</param>
/// <param name="Cos">[positions, headDim / 2].</param>
/// <param name="Sin">[positions, headDim / 2].</param>
/// <param name="Candidates">Of which the most likely is chosen behind the last row; 0 where logits are wanted.</param>
internal readonly record struct PassShape(int Rows, int Picked, int Tiles, int Splits, nint Cos, nint Sin, int Candidates = 0);

/// <summary>The architecture on the device for many rows at once: matrix products by cuBLASLt, the steps between them by kernels of <c>pass.cu</c>.</summary>
internal sealed class RowPass : IDisposable
{
    /// <summary>Rows that go through the layers together; longer prompts go in several passes.</summary>
    public const int MostRows = 1024;

    const int WorkspaceBytes = 32 << 20, AttentionWarps = 8, RotationThreads = 256, TileQueries = 64, TileKeys = 64, MostGraphs = 32;

    // Positions of a split, as many as a multiple of 128.
    const int SplitPositions = 256;

    // Products of few rows: the most there are kernels for; columns of a block; blocks that may write squares.
    const int FewRows = 16, FewColumns = 16, FewThreads = 256, MostParts = 256;

    readonly OpenElmConfig _config;
    readonly DeviceWeights _weights;
    readonly CudaPrecision _precision;
    readonly KernelModule _module;
    readonly Kernel _embed, _norm, _rotate, _attend, _activate, _choose, _unpack;
    readonly DeviceMemory? _unpacked;
    readonly DeviceMemory _workspace = new(WorkspaceBytes);
    readonly MatrixProducts _products;
    readonly CudaStream _stream;
    readonly LogitsReader _reader;
    readonly Kernel? _attendTiles, _attendAlone;
    readonly FewKernels? _few;
    readonly int _multiprocessors, _group, _widestQkv, _widestHeads, _widestFfn, _mostKeys;
    readonly Dictionary<PassShape, CudaGraph?> _graphs = []; // null: seen once
    DeviceMemory? _memory;
    MappedMemory<byte>? _sent; // rows, picked rows and tiles, as the device gets them in one copy
    PassBuffers _buffers;
    int _room, _logitRoom, _splitRoom;
    readonly int[] _tiles = new int[2 * MostRows];
    readonly MappedMemory<int> _chosen = new(2);
    readonly CudaEvent _isSent = new();

    public RowPass(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, InferenceOptions options, CudaDevice device, CudaStream stream, LogitsReader reader)
    {
        (_config, _weights, _precision, _stream, _reader) = (config, weights, precision, stream, reader);
        _module = new KernelModule(DecodeKernels.Compile("pass", device.ComputeCapability, config, precision, null, cacheIsBytes: options.KvCache == KvCacheType.I8, layerNorm: options.LayerNorm));
        (_embed, _norm, _rotate, _attend, _activate, _choose) = (_module["embed"], _module["normalize"], _module["rotate_and_store"], _module["attend"], _module["activate"], _module["choose"]);
        _unpack = _module["unpack"];
        _unpacked = weights.LargestPacked > 0 ? new DeviceMemory(weights.LargestPacked * ElementBytes) : null;
        (_group, _multiprocessors) = (DecodeKernels.GroupOf(config), device.Multiprocessors);
        if (precision == CudaPrecision.Bf16 && config.HeadDim is 64 or 128 && _group > 0 && TileQueries % _group == 0)
        {
            _attendTiles = _module["attend_tiles"];
            _attendTiles.Value.ReserveShared(TileBytes);
        }

        _attendAlone = _group > 0 ? _module["attend_alone"] : null;
        _few = options.LayerNorm || options.KernelsApart ? null : FewKernels.Of(_module, config, weights, precision); // norms are part of its products
        _products = new MatrixProducts(_workspace.Address, WorkspaceBytes, device.Name);
        _widestQkv = config.Layers.Max(layer => (layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim);
        _widestHeads = config.Layers.Max(layer => layer.QueryHeads * config.HeadDim);
        _widestFfn = config.Layers.Max(layer => layer.FfnDim);
        _mostKeys = config.Layers.Max(layer => layer.KvHeads);
    }

    /// <summary>Counts the times that buffers moved, and recorded launches with them.</summary>
    public int Moves { get; private set; }

    /// <summary>Whether rows that are alone in their sequences have a kernel of their own.</summary>
    public bool TakesLoneRows => _attendAlone is not null;

    MatrixType Type => _precision == CudaPrecision.Bf16 ? MatrixType.Bf16 : MatrixType.Fp32;

    int ElementBytes => _precision == CudaPrecision.Bf16 ? 2 : 4;

    int TileBytes => TileBytesOf(_config.HeadDim);

    /// <summary>Shared memory of a block of attention of tiles: for each of two teams two stages of keys and values, and the queries.</summary>
    /// <param name="headDim">Width of a head.</param>
    /// <returns>Bytes.</returns>
    public static int TileBytesOf(int headDim) => (2 * ((2 * 2) + 1) * TileKeys * headDim * sizeof(ushort)) + 1024; // at a multiple of that

    /// <summary>Times several ways to the same, once for each name; the choice is kept.</summary>
    /// <param name="name">What is computed.</param>
    /// <param name="ways">Each puts itself into the stream.</param>
    /// <returns>The number of the fastest.</returns>
    public int FastestOf(string name, IReadOnlyList<Action> ways)
    {
        int fastest = _products.FastestOf(name, ways, _stream.Handle);
        _products.SaveChoices();
        return fastest;
    }

    /// <summary>Runs rows; those of a sequence follow each other, and their keys and values join its cache.</summary>
    /// <param name="rows">[rows].</param>
    /// <param name="picked">The rows whose logits are wanted.</param>
    /// <param name="cos">[positions, headDim / 2].</param>
    /// <param name="sin">[positions, headDim / 2].</param>
    /// <param name="logits">Of the whole call, of which these rows' are next: [rows, vocab]; there when the reader is done with them.</param>
    public void Run(ReadOnlySpan<DeviceRow> rows, ReadOnlySpan<int> picked, nint cos, nint sin, Span<float> logits)
    {
        Start(rows, picked, cos, sin, candidates: 0);
        if (!picked.IsEmpty)
        {
            _reader.Ask(_buffers.Logits, picked.Length, logits, _stream.Handle);
        }
    }

    /// <summary>Runs rows, and chooses the most likely token behind the last one.</summary>
    /// <param name="rows">[rows], as for <see cref="Run"/>.</param>
    /// <param name="cos">[positions, headDim / 2].</param>
    /// <param name="sin">[positions, headDim / 2].</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <returns>The token and its logit.</returns>
    public (int Token, float Logit) Choose(ReadOnlySpan<DeviceRow> rows, nint cos, nint sin, int candidates)
    {
        Start(rows, [rows.Length - 1], cos, sin, candidates);
        CudaDevice.Synchronize(_stream.Handle);
        return (_chosen.Values[0], BitConverter.Int32BitsToSingle(_chosen.Values[1]));
    }

    void Start(ReadOnlySpan<DeviceRow> rows, ReadOnlySpan<int> picked, nint cos, nint sin, int candidates)
    {
        int tiles = Tiles(rows, _tiles);
        bool areAlone = TakesLoneRows && tiles == rows.Length;
        var shape = new PassShape(rows.Length, picked.Length, areAlone || _attendTiles is null ? 0 : tiles, areAlone ? Splits(rows) : 0, cos, sin, candidates);
        Reserve(shape);
        Send(shape, rows, picked);
        Launch(shape);
    }

    /// <summary>Records one step of sequences side by side: each row's token through the model, and the chosen next one into its row and to the host.</summary>
    /// <param name="rows">On the device, one for each sequence.</param>
    /// <param name="count">How many.</param>
    /// <param name="splits">Of the longest past to come.</param>
    /// <param name="cos">[positions, headDim / 2].</param>
    /// <param name="sin">[positions, headDim / 2].</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="draw">How the token of a single row is drawn; null takes the most likely.</param>
    /// <param name="chosen">On the host: [places, rows][token, bits of its logit].</param>
    /// <param name="places">How many.</param>
    /// <returns>The launches.</returns>
    public CudaGraph RecordStep(nint rows, int count, int splits, nint cos, nint sin, int candidates, TokenDraw? draw, nint chosen, int places)
    {
        var shape = new PassShape(count, count, 0, splits, cos, sin);
        Reserve(shape);
        int[] all = [.. Enumerable.Range(0, count)];
        nint picked = _buffers.Everything;
        CudaDevice.Copy<int>(all, picked, _stream.Handle);
        Tune(shape);
        return new CudaGraph(_stream, () =>
        {
            Launch(shape, rows, picked, 0);
            if (draw is null)
            {
                _choose.Launch(_stream.Handle, (count, 1), 512, _buffers.Logits, rows, chosen, _config.VocabSize, candidates, places);
                return;
            }

            draw.Launch(_stream.Handle, _buffers.Logits, rows, isRow: true, chosen, place: 0);
        });
    }

    /// <summary>Reads memory with all threads and nothing else.</summary>
    /// <param name="address">The first byte.</param>
    /// <param name="bytes">How many; whole multiples of 16 KiB are read.</param>
    /// <returns>Bytes a second, the best of five.</returns>
    public double MeasureRead(nint address, long bytes)
    {
        Kernel read = _module["read_all"];
        using CudaEvent start = new(), end = new();
        double best = 0;
        for (int i = 0; i < 6; i++)
        {
            start.Record(_stream.Handle);
            read.Launch(_stream.Handle, (8 * _multiprocessors, 1), 256, address, (int)(bytes >> 14), _workspace.Address);
            end.Record(_stream.Handle);
            end.Synchronize();
            best = i == 0 ? 0 : Math.Max(best, (bytes >> 14 << 14) / (end.MillisecondsSince(start) / 1000));
        }

        return best;
    }

    public void Dispose()
    {
        Forget();
        _memory?.Dispose();
        _sent?.Dispose();
        _chosen.Dispose();
        _isSent.Dispose();
        _unpacked?.Dispose();
        _products.Dispose();
        _workspace.Dispose();
        _module.Dispose();
    }

    /// <summary>How pasts are shared among blocks.</summary>
    /// <param name="rows">Alone in their sequences.</param>
    /// <returns>Splits of the longest sequence.</returns>
    public static int Splits(ReadOnlySpan<DeviceRow> rows)
    {
        int longest = 0;
        foreach (DeviceRow row in rows)
        {
            longest = Math.Max(longest, row.Capacity);
        }

        return StepLayout.Parts(longest, SplitPositions);
    }

    // What comes twice is worth a graph and, unless it is a few proposals, whose number changes all the time, the search for algorithms.
    void Launch(in PassShape shape)
    {
        if (_graphs.TryGetValue(shape, out CudaGraph? graph))
        {
            if (graph is null)
            {
                PassShape recorded = shape;
                if (shape.Rows > FewRows)
                {
                    Tune(shape);
                }

                _graphs[shape] = graph = new CudaGraph(_stream, () => LaunchSent(recorded));
            }

            graph.Launch(_stream);
            return;
        }

        if (_graphs.Count == MostGraphs)
        {
            Forget();
        }

        _graphs.Add(shape, null);
        LaunchSent(shape);
    }

    // What a pass is told, one behind the other, with a place for each shape, in one copy; the next waits for it, not for the pass.
    void Send(in PassShape shape, ReadOnlySpan<DeviceRow> rows, ReadOnlySpan<int> picked)
    {
        _isSent.Synchronize();
        Span<byte> all = _sent!.Values;
        MemoryMarshal.AsBytes(rows).CopyTo(all);
        MemoryMarshal.AsBytes(picked).CopyTo(all[PickedAt(shape)..]);
        MemoryMarshal.AsBytes(_tiles.AsSpan(0, 2 * shape.Tiles)).CopyTo(all[TilesAt(shape)..]);
        CudaDevice.Copy<byte>(all[..(TilesAt(shape) + (2 * shape.Tiles * sizeof(int)))], _buffers.Sent, _stream.Handle);
        _isSent.Record(_stream.Handle);
    }

    static int PickedAt(in PassShape shape) => shape.Rows * Unsafe.SizeOf<DeviceRow>();

    static int TilesAt(in PassShape shape) => PickedAt(shape) + (shape.Picked * sizeof(int));

    void LaunchSent(in PassShape shape)
    {
        Launch(shape, _buffers.Sent, _buffers.Sent + PickedAt(shape), _buffers.Sent + TilesAt(shape));
        if (shape.Candidates > 0)
        {
            nint last = _buffers.Sent + ((shape.Rows - 1) * Unsafe.SizeOf<DeviceRow>());
            _choose.Launch(_stream.Handle, (1, 1), 512, _buffers.Logits, last, _chosen.Address, _config.VocabSize, shape.Candidates, 1);
        }
    }

    void Forget()
    {
        foreach (CudaGraph? graph in _graphs.Values)
        {
            graph?.Dispose();
        }

        _graphs.Clear();
    }

    void Launch(in PassShape shape, nint rows, nint picked, nint tiles)
    {
        if (IsFew(shape))
        {
            LaunchFew(shape, rows, picked, tiles);
            return;
        }

        (int count, int d, int glued, float eps) = (shape.Rows, _config.ModelDim, _config.FfnWithGlu ? 2 : 1, (float)_config.RmsNormEps);
        (nint stream, PassBuffers at) = (_stream.Handle, _buffers);
        _embed.Launch(stream, (count, 1), 256, rows, _weights.Embedding, at.X, d);
        foreach (DeviceLayer layer in _weights.Layers)
        {
            int ffn = layer.Shape.FfnDim;
            _norm.LaunchEarly(stream, (count, 1, 1), 256, 0, at.X, layer.AttnNorm, at.Normed, (nint)0, d, eps);
            Multiply(at.Normed, layer.QkvProj, at.Qkv, QkvShape(layer, count));
            Attend(shape, layer, rows, tiles);
            Multiply(at.Heads, layer.OutProj, at.X, OutShape(layer, count));
            _norm.LaunchEarly(stream, (count, 1, 1), 256, 0, at.X, layer.FfnNorm, at.Normed, (nint)0, d, eps);
            Multiply(at.Normed, layer.Proj1, at.GateUp, UpShape(layer, count));
            _activate.LaunchEarly(stream, (StepLayout.Parts(ffn, 8 * 128), count, 1), 128, 0, at.GateUp, at.Active, ffn, glued - 1);
            Multiply(at.Active, layer.Proj2, at.X, DownShape(layer, count));
        }

        if (shape.Picked > 0)
        {
            _norm.LaunchEarly(stream, (shape.Picked, 1, 1), 256, 0, at.X, _weights.FinalNorm, at.Normed, picked, d, eps);
            Multiply(at.Normed, _weights.Head, at.Logits, HeadShape(shape.Picked));
        }
    }

    bool IsFew(in PassShape shape) => _few is not null && shape.Rows <= FewRows;

    // The same with products of few rows: five kernels a layer, each of which asks for its weights while the one before it ends.
    void LaunchFew(in PassShape shape, nint rows, nint picked, nint tiles)
    {
        (int count, int d, FewKernels few) = (shape.Rows, _config.ModelDim, _few!);
        (nint stream, PassBuffers at) = (_stream.Handle, _buffers);
        int parts = 1; // squares of a row
        few.Embed.LaunchEarly(stream, (count, 1, 1), FewThreads, 0, rows, _weights.Embedding, at.X, _weights.Layers[0].AttnNorm, at.Normed, at.Squares, d);
        for (int i = 0; i < _weights.Layers.Length; i++)
        {
            (DeviceLayer layer, PassShape of) = (_weights.Layers[i], shape);
            nint next = i + 1 < _weights.Layers.Length ? _weights.Layers[i + 1].AttnNorm : _weights.FinalNorm;
            Scaled(few.Scaled, at.Normed, layer.QkvProj.Address, (layer.Shape.QueryHeads + (2 * layer.Shape.KvHeads)) * _config.HeadDim, FewColumns, count, at.Squares, at.Qkv);
            Attend(of, layer, rows, tiles);
            Added(at.Heads, layer.OutProj.Address, layer.Shape.QueryHeads * _config.HeadDim, layer.FfnNorm);
            Scaled(few.Gated, at.Normed, layer.Proj1.Address, layer.Shape.FfnDim, FewColumns / 2, count, at.Squares, at.Active);
            Added(at.Active, layer.Proj2.Address, layer.Shape.FfnDim, next);
        }

        if (shape.Picked == 0)
        {
            return;
        }

        bool isAll = shape.Picked == count; // picked rows are in order
        if (!isAll)
        {
            few.Pick.LaunchEarly(stream, (shape.Picked, 1, 1), FewThreads, 0, at.Normed, at.Squares, picked, at.GateUp, at.Partial, d, parts);
        }

        Scaled(few.Logits, isAll ? at.Normed : at.GateUp, _weights.Head.Address, _config.VocabSize, FewColumns, shape.Picked, isAll ? at.Squares : at.Partial, at.Logits);

        void Scaled(FewKernel kernel, nint x, nint weights, int columns, int ofBlock, int rows, nint squares, nint y) => kernel.For(rows).LaunchEarly(
            stream, (StepLayout.Parts(columns, ofBlock), 1, 1), FewThreads, 0, x, weights, d, columns, rows, squares, parts, d, (float)_config.RmsNormEps, y, (nint)0, (nint)0, (nint)0);

        void Added(nint x, nint weights, int inner, nint norm)
        {
            few.Added.For(count).LaunchEarly(
                stream, (StepLayout.Parts(d, FewColumns), 1, 1), FewThreads, 0, x, weights, inner, d, count, (nint)0, 0, d, 0f, at.Normed, at.X, norm, at.Squares);
            parts = StepLayout.Parts(d, FewColumns);
        }
    }

    // Norm and rotation of queries and keys, the cache, and attention: of rows that are alone in their sequences in one kernel.
    void Attend(in PassShape shape, DeviceLayer layer, nint rows, nint tiles)
    {
        (int count, int queries, int keys, int headDim, float eps) = (shape.Rows, layer.Shape.QueryHeads, layer.Shape.KvHeads, _config.HeadDim, (float)_config.RmsNormEps);
        (nint stream, PassBuffers at) = (_stream.Handle, _buffers);
        if (shape.Splits > 0)
        {
            int shared = sizeof(float) * 4 * _group * (headDim + 4);
            _attendAlone!.Value.LaunchEarly(
                stream, (shape.Splits, keys, count), 128, shared,
                at.Qkv, rows, layer.QNorm, layer.KNorm, shape.Cos, shape.Sin, at.Heads, at.Partial, at.Counters, layer.FirstKvHead, queries, keys, eps, SplitPositions);
            return;
        }

        int lanes = DecodeKernels.HasWideHeads(_config) ? headDim / 8 : 32;
        _rotate.LaunchEarly(
            stream, (StepLayout.Parts(count * (queries + (2 * keys)) * lanes, RotationThreads), 1, 1), RotationThreads, 0,
            at.Qkv, rows, layer.QNorm, layer.KNorm, shape.Cos, shape.Sin, layer.FirstKvHead, queries, keys, count, eps);
        if (shape.Tiles > 0)
        {
            _attendTiles!.Value.LaunchEarly(stream, (keys, shape.Tiles, 1), 256, TileBytes, at.Qkv, rows, tiles, at.Heads, layer.FirstKvHead, queries, keys);
            return;
        }

        _attend.LaunchEarly(
            stream, (StepLayout.Parts(queries, AttentionWarps), count, 1), 32 * AttentionWarps, AttentionWarps * headDim * sizeof(float), at.Qkv, rows, at.Heads, layer.FirstKvHead, queries, keys);
    }

    // Finds the fastest algorithms for a number of rows. What the buffers hold then is of no use.
    void Tune(in PassShape shape)
    {
        if (IsFew(shape))
        {
            return;
        }

        (int rows, int picked) = (shape.Rows, shape.Picked);
        foreach (DeviceLayer layer in _weights.Layers)
        {
            FindFastest(_buffers.Normed, layer.QkvProj, _buffers.Qkv, QkvShape(layer, rows));
            FindFastest(_buffers.Heads, layer.OutProj, _buffers.X, OutShape(layer, rows));
            FindFastest(_buffers.Normed, layer.Proj1, _buffers.GateUp, UpShape(layer, rows));
            FindFastest(_buffers.Active, layer.Proj2, _buffers.X, DownShape(layer, rows));
        }

        if (picked > 0)
        {
            FindFastest(_buffers.Normed, _weights.Head, _buffers.Logits, HeadShape(picked));
        }

        _products.SaveChoices();
    }

    ProductShape QkvShape(DeviceLayer layer, int rows) => Shape(rows, (layer.Shape.QueryHeads + (2 * layer.Shape.KvHeads)) * _config.HeadDim, _config.ModelDim, Type);

    ProductShape OutShape(DeviceLayer layer, int rows) => Shape(rows, _config.ModelDim, layer.Shape.QueryHeads * _config.HeadDim, MatrixType.Fp32, add: true);

    ProductShape UpShape(DeviceLayer layer, int rows) => Shape(rows, (_config.FfnWithGlu ? 2 : 1) * layer.Shape.FfnDim, _config.ModelDim, Type);

    ProductShape DownShape(DeviceLayer layer, int rows) => Shape(rows, _config.ModelDim, layer.Shape.FfnDim, MatrixType.Fp32, add: true);

    ProductShape HeadShape(int rows) => Shape(rows, _config.VocabSize, _config.ModelDim, MatrixType.Fp32);

    // y = x · weightsᵀ (+ y): [rows, inner] → [rows, columns]
    ProductShape Shape(int rows, int columns, int inner, MatrixType result, bool add = false) =>
        new(rows, columns, inner, TransposeA: false, TransposeB: true, Type, result, add ? 1 : 0);

    void Multiply(nint x, DeviceMatrix weights, nint y, in ProductShape shape)
    {
        if (weights.Format == PackedFormat.Plain)
        {
            _products.Multiply(shape, x, weights.Address, y, _stream.Handle);
            return;
        }

        _unpack.Launch(_stream.Handle, (shape.Columns, 1), 128, weights.Address, _unpacked!.Address, shape.Inner, weights.Columns, (int)weights.Format);
        _products.Multiply(shape, x, _unpacked.Address, y, _stream.Handle);
    }

    void FindFastest(nint x, DeviceMatrix weights, nint y, in ProductShape shape) =>
        _products.FindFastest(shape, x, weights.Format == PackedFormat.Plain ? weights.Address : _unpacked!.Address, y, _stream.Handle);

    // tiles: [tiles][first row, rows]: rows that neighbour each other in a sequence, as many as, with all query heads of a KV head, are a tile of queries.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    int Tiles(ReadOnlySpan<DeviceRow> rows, Span<int> tiles)
    {
        int most = TileQueries / Math.Max(1, _group), written = 0;
        for (int first = 0, count; first < rows.Length; first += count)
        {
            count = 1;
            while (count < most && first + count < rows.Length && rows[first + count].Cache == rows[first].Cache && rows[first + count].Position == rows[first].Position + count)
            {
                count++;
            }

            (tiles[written], tiles[written + 1]) = (first, count);
            written += 2;
        }

        return written / 2;
    }

    int SentBytes => _room * (Unsafe.SizeOf<DeviceRow>() + (3 * sizeof(int)));

    void Reserve(in PassShape shape)
    {
        if (_memory is not null && shape.Rows <= _room && shape.Picked <= _logitRoom && shape.Rows * shape.Splits <= _splitRoom)
        {
            return;
        }

        CudaDevice.Synchronize(_stream.Handle);
        Forget();
        Moves++;
        _memory?.Dispose();
        _memory = null;
        (_room, _logitRoom, _splitRoom) = (Math.Max(_room, shape.Rows), Math.Max(_logitRoom, shape.Picked), Math.Max(_splitRoom, shape.Rows * shape.Splits));
        int d = _config.ModelDim, queries = _widestHeads / _config.HeadDim;
        long[] bytes =
        [
            (long)_room * d * 4, (long)_room * _widestQkv * ElementBytes, (long)_room * (_config.FfnWithGlu ? 2 : 1) * _widestFfn * ElementBytes, (long)_room * d * ElementBytes,
            (long)_room * _widestHeads * ElementBytes, (long)_room * _widestFfn * ElementBytes, SentBytes, _room * 4L,
            Math.Max((long)_splitRoom * queries * (_config.HeadDim + 2), FewRows * MostParts) * 4, (long)_room * _mostKeys * 4, FewRows * MostParts * 4,
            (long)_logitRoom * _config.VocabSize * 4,
        ];
        long[] starts = [.. bytes.Select((_, i) => bytes.Take(i).Sum(size => (size + 255) / 256 * 256))];
        _memory = new DeviceMemory(starts[^1] + bytes[^1]);
        nint At(int i) => _memory.Address + (nint)starts[i];
        _buffers = new PassBuffers(At(0), At(1), At(2), At(3), At(4), At(5), At(6), At(7), At(8), At(9), At(10), At(11));
        _sent?.Dispose();
        _sent = new MappedMemory<byte>(SentBytes);
        CudaDevice.Clear(_memory.Address, _memory.Bytes, _stream.Handle); // the counters, and numbers for the first search of algorithms
    }

    /// <summary>Where a pass keeps its numbers; widths are those of the widest layer.</summary>
    /// <param name="X">The residual stream.</param>
    /// <param name="Qkv">Queries, keys and values.</param>
    /// <param name="GateUp">Gate and up.</param>
    /// <param name="Normed">The normalised residual.</param>
    /// <param name="Heads">Attention's result.</param>
    /// <param name="Active">SwiGLU's result.</param>
    /// <param name="Sent">What a pass is told: rows, those whose logits are wanted, tiles of neighbouring rows.</param>
    /// <param name="Everything">0, 1, 2, …</param>
    /// <param name="Partial">Attention's results of splits.</param>
    /// <param name="Counters">Of splits that are done.</param>
    /// <param name="Squares">Of few rows, sums of squares of the residual, in parts.</param>
    /// <param name="Logits">The logits.</param>
    readonly record struct PassBuffers(
        nint X, nint Qkv, nint GateUp, nint Normed, nint Heads, nint Active, nint Sent, nint Everything, nint Partial, nint Counters, nint Squares, nint Logits);

    /// <summary>A kernel for up to 8 and one for up to 16 rows.</summary>
    readonly record struct FewKernel(Kernel Eight, Kernel Sixteen)
    {
        public Kernel For(int rows) => rows <= 8 ? Eight : Sixteen;
    }

    /// <summary>The kernels of passes of few rows.</summary>
    sealed record FewKernels(Kernel Embed, Kernel Pick, FewKernel Scaled, FewKernel Gated, FewKernel Logits, FewKernel Added)
    {
        /// <summary>Finds them; null where the architecture, or how weights are kept, is not for them.</summary>
        public static FewKernels? Of(KernelModule module, OpenElmConfig config, DeviceWeights weights, CudaPrecision precision)
        {
            bool fits = precision == CudaPrecision.Bf16 && config.FfnWithGlu && weights.LargestPacked == 0 && config.ModelDim % 8 == 0 && StepLayout.Parts(config.ModelDim, FewColumns) <= MostParts
                && config.Layers.Max(layer => 2 * layer.FfnDim) >= config.ModelDim && config.Layers.All(layer => layer.FfnDim % 8 == 0 && layer.QueryHeads * config.HeadDim % 8 == 0);
            FewKernel Named(string name) => new(module[$"few_{name}_8"], module[$"few_{name}_16"]);
            return fits ? new FewKernels(module["embed_few"], module["pick_few"], Named("scaled"), Named("gated"), Named("logits"), Named("added")) : null;
        }
    }
}
