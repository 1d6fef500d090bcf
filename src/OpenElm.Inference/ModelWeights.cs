using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Adapters;
using OpenElm.Inference.Memory;
using OpenElm.Inference.Threading;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference;

/// <summary>The weights of one layer; shapes as in <see cref="TensorShapes"/>. Gate and up are the halves of proj_1; without a gate, Up is null.</summary>
internal sealed record LayerWeights(
    LayerShape Shape, NativeFloats AttnNorm, TileMatrix QkvProj, NativeFloats? QNorm, NativeFloats? KNorm, TileMatrix OutProj,
    NativeFloats FfnNorm, TileMatrix Gate, TileMatrix? Up, TileMatrix Proj2)
{
    /// <summary>What adapters change in the products; null where they change nothing.</summary>
    public AdapterTiles? QkvAdapter { get; init; }

    /// <inheritdoc cref="QkvAdapter"/>
    public AdapterTiles? OutAdapter { get; init; }

    /// <inheritdoc cref="QkvAdapter"/>
    public AdapterTiles? GateAdapter { get; init; }

    /// <summary>Of the same product A·x as <see cref="GateAdapter"/>.</summary>
    public AdapterTiles? UpAdapter { get; init; }

    /// <inheritdoc cref="QkvAdapter"/>
    public AdapterTiles? Proj2Adapter { get; init; }

    /// <summary>All of them.</summary>
    public IEnumerable<AdapterTiles> Adapters => new[] { QkvAdapter, OutAdapter, GateAdapter, UpAdapter, Proj2Adapter }.OfType<AdapterTiles>();
}

/// <summary>
/// What a model has learned: shared by all sequences, read-only. Matrices are packed into tiles once, by all threads; the
/// embedding is read row by row from where it is stored.
/// </summary>
internal sealed class ModelWeights : IDisposable
{
    readonly List<IDisposable> _owned;
    readonly StoredWeight _embedding;
    readonly ImmutableArray<long> _embeddingRow;

    ModelWeights(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> stored, IReadOnlyList<ScaledAdapter> adapters, ThreadTeam team, List<IDisposable> owned)
    {
        _owned = owned;
        _embedding = stored[TensorNames.Embedding];
        _embeddingRow = [_embedding.Shape[1]];
        var packing = new PackJob(owned);
        Layers = [.. config.Layers.Select((shape, i) =>
        {
            StoredWeight Named(string name) => stored[TensorNames.Layer(i, name)];
            return new LayerWeights(
                shape,
                AttnNorm: Norm(Named("attn_norm")),
                QkvProj: packing.Add(Named("attn.qkv_proj")),
                QNorm: config.NormalizeQkProjections ? Norm(Named("attn.q_norm")) : null,
                KNorm: config.NormalizeQkProjections ? Norm(Named("attn.k_norm")) : null,
                OutProj: packing.Add(Named("attn.out_proj")),
                FfnNorm: Norm(Named("ffn_norm")),
                Gate: packing.Add(Named("ffn.proj_1"), 0, shape.FfnDim),
                Up: config.FfnWithGlu ? packing.Add(Named("ffn.proj_1"), shape.FfnDim, shape.FfnDim) : null,
                Proj2: packing.Add(Named("ffn.proj_2")));
        })];
        FinalNorm = Norm(stored[TensorNames.FinalNorm]);
        Head = packing.Add(config.ShareInputOutputLayers ? _embedding : stored[TensorNames.Classifier]);
        nint address = Address = packing.Run(team);
        Layers = [.. Layers.Select(layer => layer with
        {
            QkvProj = At(layer.QkvProj), OutProj = At(layer.OutProj), Gate = At(layer.Gate), Up = layer.Up is { } up ? At(up) : null, Proj2 = At(layer.Proj2),
        })];
        Head = At(Head);
        Bytes = packing.Bytes;
        Adapt(stored, LowRankUpdate.ByWeight(adapters));

        TileMatrix At(TileMatrix matrix) => matrix with { Address = address + matrix.Address };
    }

    /// <summary>All layers.</summary>
    public ImmutableArray<LayerWeights> Layers { get; private set; }

    /// <summary>[modelDim].</summary>
    public NativeFloats FinalNorm { get; }

    /// <summary>[vocab, modelDim]: the embedding itself, if it is tied.</summary>
    public TileMatrix Head { get; }

    /// <summary>What adapters add to rows of the embedding; null if nothing.</summary>
    public EmbeddingAdapter? EmbeddingAdapter { get; private set; }

    /// <summary>The first tile of all.</summary>
    public nint Address { get; }

    /// <summary>Bytes of all tiles: what a token reads.</summary>
    public long Bytes { get; }

    /// <summary>Takes the weights of an open checkpoint, and its ownership.</summary>
    /// <param name="checkpoint">The checkpoint; disposed with the weights.</param>
    /// <param name="adapters">What is applied beside the weights; may be disposed afterwards.</param>
    /// <param name="team">Who packs.</param>
    /// <returns>The weights.</returns>
    public static ModelWeights Of(Checkpoint checkpoint, IReadOnlyList<ScaledAdapter> adapters, ThreadTeam team) => new(checkpoint.Config, checkpoint.Weights, adapters, team, [checkpoint]);

    /// <summary>Copies weights from memory.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Every weight by CoreNet's name, row-major.</param>
    /// <param name="adapters">What is applied beside the weights; may be disposed afterwards.</param>
    /// <param name="team">Who packs.</param>
    /// <returns>The weights.</returns>
    /// <exception cref="OpenElmException">A weight is missing or has another size; all are listed.</exception>
    public static ModelWeights Of(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights, IReadOnlyList<ScaledAdapter> adapters, ThreadTeam team)
    {
        Dictionary<string, StoredWeight> stored = Stored(config, weights, out List<IDisposable> owned);
        return new ModelWeights(config, stored, adapters, team, owned);
    }

    /// <summary>Takes stored weights, and their owner's ownership.</summary>
    public static ModelWeights Of(OpenElmConfig config, IReadOnlyDictionary<string, StoredWeight> stored, ThreadTeam team, IDisposable owner) => new(config, stored, [], team, [owner]);

    /// <summary>Copies weights from memory to where they do not move.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Every weight by CoreNet's name, row-major.</param>
    /// <param name="owned">Owns the copies.</param>
    /// <returns>The copies by name.</returns>
    /// <exception cref="OpenElmException">A weight is missing or has another size; all are listed.</exception>
    public static Dictionary<string, StoredWeight> Stored(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights, out List<IDisposable> owned)
    {
        string[] problems = [.. TensorShapes.Of(config)
            .Where(shape => !weights.TryGetValue(shape.Name, out ReadOnlyMemory<float> values) || values.Length != shape.Elements)
            .Select(shape => weights.TryGetValue(shape.Name, out ReadOnlyMemory<float> values)
                ? $"{shape.Name} has {values.Length} elements; the configuration implies {shape.Elements}"
                : $"{shape.Name} is missing")];
        if (problems is not [])
        {
            throw OpenElmException.Of("The weights do not fit the configuration", problems);
        }

        List<IDisposable> copies = owned = [];
        return TensorShapes.Of(config).ToDictionary(shape => shape.Name, shape =>
        {
            var floats = new NativeFloats(shape.Elements);
            copies.Add(floats);
            weights[shape.Name].Span.CopyTo(floats.Slice(0, checked((int)shape.Elements)));
            return StoredWeight.Of(shape.Name, floats.AsTensor(shape.Name, shape.Shape));
        });
    }

    /// <summary>Reads one row of the embedding, with what adapters add to it; allocates nothing.</summary>
    /// <param name="token">The row.</param>
    /// <param name="x">[modelDim].</param>
    public void Embed(int token, Span<float> x)
    {
        ReadEmbedding(token, x);
        EmbeddingAdapter?.AddTo(token, x);
    }

    /// <inheritdoc/>
    public void Dispose() => _owned.ForEach(owner => owner.Dispose());

    void Adapt(IReadOnlyDictionary<string, StoredWeight> stored, ImmutableDictionary<string, Func<LowRankUpdate>> updates)
    {
        if (updates.IsEmpty)
        {
            return;
        }

        if (updates.TryGetValue(TensorNames.Embedding, out Func<LowRankUpdate>? embedding))
        {
            EmbeddingAdapter = Own(new EmbeddingAdapter(embedding()));
        }

        Layers = [.. Layers.Select((layer, i) =>
        {
            AdapterTiles? Tiles(string part, int firstRow, int rows) => updates.TryGetValue(TensorNames.Layer(i, part), out Func<LowRankUpdate>? update)
                ? Own(AdapterTiles.Of(update(), stored[TensorNames.Layer(i, part)], firstRow, rows))
                : null;

            return layer with
            {
                QkvAdapter = Tiles("attn.qkv_proj", 0, layer.QkvProj.Rows),
                OutAdapter = Tiles("attn.out_proj", 0, layer.OutProj.Rows),
                GateAdapter = Tiles("ffn.proj_1", 0, layer.Gate.Rows),
                UpAdapter = layer.Up is { } up ? Tiles("ffn.proj_1", layer.Gate.Rows, up.Rows) : null,
                Proj2Adapter = Tiles("ffn.proj_2", 0, layer.Proj2.Rows),
            };
        })];

        T Own<T>(T part)
            where T : IDisposable
        {
            _owned.Add(part);
            return part;
        }
    }

    void ReadEmbedding(int token, Span<float> x)
    {
        long row = token;
        foreach (TensorView part in _embedding.Parts)
        {
            if (row < part.Shape[0])
            {
                long bytes = part.ByteCount / part.Shape[0];
                (part with { Shape = _embeddingRow, Address = part.Address + (nint)(row * bytes), ByteCount = bytes }).CopyTo(x);
                return;
            }

            row -= part.Shape[0];
        }
    }

    NativeFloats Norm(StoredWeight weight)
    {
        var floats = new NativeFloats(weight.Elements);
        _owned.Add(floats);
        weight.CopyTo(floats.Values);
        return floats;
    }

    /// <summary>Packs matrices side by side into one memory. Until it has run, addresses count from 0.</summary>
    sealed class PackJob(List<IDisposable> owned) : SplitJob
    {
        readonly List<(TileMatrix Matrix, TensorView Source, long FirstRow)> _matrices = [];
        readonly List<NativeFloats> _converted = [];
        nint _address;

        public long Bytes { get; private set; }

        public TileMatrix Add(StoredWeight weight) => Add(weight, 0, weight.Shape[0]);

        public TileMatrix Add(StoredWeight weight, long firstRow, long rows)
        {
            (TensorView source, long first) = Find(weight, firstRow, rows);
            var matrix = new TileMatrix(TileFormats.Of(source.DType), checked((int)rows), checked((int)weight.Shape[1]), checked((nint)Bytes));
            _matrices.Add((matrix, source, first));
            Bytes += matrix.Bytes;
            return matrix;
        }

        public nint Run(ThreadTeam team)
        {
            var memory = new WeightMemory(Bytes);
            owned.Add(memory);
            _address = memory.Address;
            team.Run(this, split: Bytes > 1 << 20);
            _converted.ForEach(floats => floats.Dispose());
            return _address;
        }

        public override void Run(int part, int parts, SpinBarrier barrier)
        {
            // Every part writes one stretch of the memory, so that its pages are near the thread.
            (long begin, long end) = (Bytes * part / parts, Bytes * (part + 1) / parts);
            foreach ((TileMatrix matrix, TensorView source, long firstRow) in _matrices)
            {
                int first = TileAt(begin - matrix.Address), last = TileAt(end - matrix.Address);
                TileMatrix target = matrix with { Address = _address + matrix.Address };
                for (int tile = first; tile < last; tile++)
                {
                    TilePacking.Pack(source, firstRow, target, tile);
                }

                int TileAt(long offset) => (int)Math.Clamp((offset + matrix.TileBytes - 1) / matrix.TileBytes, 0, matrix.Tiles);
            }

            Interlocked.MemoryBarrier(); // tiles are stored past the caches, and other threads read them next
        }

        // The stored tensor that holds the rows; where none holds them all, or its blocks do not fit the tiles, a copy in floats.
        (TensorView Source, long FirstRow) Find(StoredWeight weight, long firstRow, long rows)
        {
            long start = 0;
            foreach (TensorView part in weight.Parts)
            {
                if (firstRow >= start && firstRow + rows <= start + part.Shape[0])
                {
                    return (part, firstRow - start);
                }

                start += part.Shape[0];
            }

            var floats = new NativeFloats(weight.Elements);
            _converted.Add(floats);
            weight.CopyTo(floats.Values);
            return (floats.AsTensor(weight.Name, weight.Shape), firstRow);
        }
    }
}
