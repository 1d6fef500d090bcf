using System.Numerics.Tensors;
using OpenElm.Configuration;
using OpenElm.Inference.Adapters;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Threading;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference;

/// <summary>
/// OpenELM's architecture, top to bottom, for the rows of a batch: a row is one token of one sequence. All threads go through it together;
/// each does its share of a step, rows of an element-wise step and tiles of a product, and they meet at a barrier before the next.
/// A row's results do not depend on its companions or on the number of threads.
/// </summary>
/// <param name="config">The architecture.</param>
/// <param name="weights">What was learned.</param>
/// <param name="rotary">The angles.</param>
/// <param name="kernels">The kernel set.</param>
internal sealed unsafe class ForwardPass(OpenElmConfig config, ModelWeights weights, RotaryTable rotary, CpuKernels kernels) : SplitJob, IDisposable
{
    /// <summary>Rows that go through the layers together; longer prompts go in several passes.</summary>
    public const int MostRows = 512;

    const int FewestRows = 64;

    // From so many rows on a step takes milliseconds, and its pieces go to whoever is free; below, each thread reads its own stretch of the weights.
    const int RowsToClaim = 32;

    readonly long _weightBytes = weights.Bytes;
    readonly int _rank = weights.Layers.SelectMany(layer => layer.Adapters).Select(adapter => adapter.Rank).DefaultIfEmpty(0).Max();
    readonly ClaimedShares _shares = new((weights.Layers.Length * (int)Step.Count) + 1);
    Workspace? _work;
    Row[] _rows = [];
    int _count, _logitRows;
    float* _logits;

    // What the threads share piece by piece in a layer.
    enum Step
    {
        Qkv,
        Attention,
        Out,
        GateAndUp,
        Down,
        Count,
    }

    /// <summary>One token of a batch.</summary>
    /// <param name="Token">Its id.</param>
    /// <param name="State">Its sequence.</param>
    /// <param name="Position">Its position there.</param>
    /// <param name="LogitRow">Where its logits go; −1 where nobody wants them.</param>
    public readonly record struct Row(int Token, SequenceState State, int Position, int LogitRow);

    /// <summary>Sees the activations, on one thread; null outside of calibration.</summary>
    public IActivationObserver? Observer { get; set; }

    Workspace Work => _work!;

    int ModelDim => config.ModelDim;

    int HeadDim => config.HeadDim;

    /// <summary>Begins a new list of rows.</summary>
    /// <param name="most">How many there will be.</param>
    public void Clear(int most)
    {
        _count = 0;
        if (_rows.Length < most)
        {
            _rows = new Row[Math.Clamp((int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)most), FewestRows, MostRows)]; // room for proposals and small batches from the start
        }
    }

    /// <summary>Adds a row; those of a sequence follow each other.</summary>
    /// <param name="row">The row.</param>
    public void Add(Row row) => _rows[_count++] = row;

    /// <summary>Runs the rows through the model. Allocates only where there are more rows than ever before.</summary>
    /// <param name="team">The threads.</param>
    /// <param name="logits">[wanted rows, vocab].</param>
    public void Run(ThreadTeam team, float* logits)
    {
        if (_work is null || _work.Rows < _rows.Length)
        {
            _work?.Dispose();
            _work = new Workspace(config, _rows.Length, team.Parts, kernels, _rank);
        }

        _logits = logits;
        _logitRows = 0;
        foreach (ref readonly Row row in _rows.AsSpan(0, _count))
        {
            _logitRows += row.LogitRow >= 0 ? 1 : 0;
        }

        _shares.Reset();

        // Below a few microseconds, meeting at barriers costs more than it saves.
        team.Run(this, split: Observer is null && _count * _weightBytes >= 1 << 20);
        _rows.AsSpan(0, _count).Clear(); // keeps no state alive
    }

    /// <inheritdoc/>
    public override void Run(int part, int parts, SpinBarrier barrier)
    {
        // x = E[tokens]: [rows, modelDim]
        foreach (int row in Share(_count, part, parts))
        {
            weights.Embed(_rows[row].Token, Work.X.Row(row, ModelDim));
        }

        for (int layer = 0; layer < weights.Layers.Length; layer++)
        {
            Attention(layer, part, parts, barrier);
            FeedForward(layer, part, parts, barrier);
            for (int row = 0; row < _count && Observer is { } observer; row++)
            {
                observer.ObserveResidual(layer, Work.X.Row(row, ModelDim));
            }
        }

        Head(part, parts, barrier);
    }

    /// <inheritdoc/>
    public void Dispose() => _work?.Dispose();

    // x = x + out_proj(attention(norm(x)))
    void Attention(int index, int part, int parts, SpinBarrier barrier)
    {
        LayerWeights layer = weights.Layers[index];
        LayerShape shape = layer.Shape;
        int queryWidth = shape.QueryHeads * HeadDim;
        NormInto(layer.QkvProj, layer.QkvAdapter, (index, "attn.qkv_proj"), layer.AttnNorm.Values, part, parts);
        barrier.Wait();
        Multiply(layer.QkvProj, layer.QkvAdapter, Work.Qkv, add: false, (index, Step.Qkv), part, parts); // [rows, modelDim] → [rows, (queryHeads + 2 · kvHeads) · headDim]
        barrier.Wait();
        foreach (int row in Share(_count, part, parts))
        {
            NormaliseRotateAndStore(index, layer, row);
        }

        barrier.Wait();
        Attend(index, shape, part, parts);
        barrier.Wait();
        Prepare(Work.Heads, layer.OutProj, layer.OutAdapter, (index, "attn.out_proj"), part, parts);
        barrier.Wait();
        Multiply(layer.OutProj, layer.OutAdapter, Work.X, add: true, (index, Step.Out), part, parts); // x + [rows, queryHeads · headDim] → [rows, modelDim]
        barrier.Wait();
    }

    // QK norm, then rotation, then the cache.
    void NormaliseRotateAndStore(int index, LayerWeights layer, int row)
    {
        LayerShape shape = layer.Shape;
        (SequenceState state, int position) = (_rows[row].State, _rows[row].Position);
        int queryWidth = shape.QueryHeads * HeadDim, kvWidth = shape.KvHeads * HeadDim;
        Span<float> qkv = Work.Qkv.Row(row, queryWidth + (2 * kvWidth));
        Span<float> queries = qkv[..queryWidth], keys = qkv.Slice(queryWidth, kvWidth), values = qkv[(queryWidth + kvWidth)..];
        if (layer is { QNorm: { } queryNorm, KNorm: { } keyNorm })
        {
            kernels.RmsNorm(queries, queryNorm.Values, (float)config.RmsNormEps, queries);
            kernels.RmsNorm(keys, keyNorm.Values, (float)config.RmsNormEps, keys);
        }

        kernels.Rope(queries, rotary.Cos(position), rotary.Sin(position));
        kernels.Rope(keys, rotary.Cos(position), rotary.Sin(position));
        for (int head = 0; head < shape.KvHeads; head++)
        {
            state.CpuCache.Store(index, head, position, keys.Slice(head * HeadDim, HeadDim), values.Slice(head * HeadDim, HeadDim));
        }
    }

    // Neighbouring rows of a sequence share the keys they read; each group of them and each KV head is one piece of work.
    void Attend(int index, LayerShape shape, int part, int parts)
    {
        BlockedAttention attention = Work.Attention[part];
        int queries = shape.QueryHeadsPerKvHead, piece = 0, claimed = part;
        bool claims = Claims(parts);
        Next();
        for (int row = 0, count; row < _count; row += count)
        {
            count = 1;
            while (count < attention.Positions && row + count < _count && _rows[row + count].State == _rows[row].State)
            {
                count++;
            }

            for (int head = 0; head < shape.KvHeads; head++, piece++)
            {
                if (piece == claimed)
                {
                    long at = head * queries * HeadDim;
                    attention.Run(
                        _rows[row].State.CpuCache, index, head, _rows[row].Position, count,
                        Work.Qkv.Pointer + (row * Work.Qkv.Stride) + at, Work.Qkv.Stride, Work.Heads.Pointer + (row * Work.Heads.Stride) + at, Work.Heads.Stride);
                    claimed += parts;
                    Next();
                }
            }
        }

        void Next()
        {
            if (claims)
            {
                claimed = _shares.ClaimOne(Number((index, Step.Attention)));
            }
        }
    }

    // x = x + proj_2(SiLU(gate) ⊙ up), gate and up the halves of proj_1(norm(x)); without a gate, x + proj_2(SiLU(proj_1(norm(x))))
    void FeedForward(int index, int part, int parts, SpinBarrier barrier)
    {
        LayerWeights layer = weights.Layers[index];
        NormInto(layer.Gate, layer.GateAdapter, (index, "ffn.proj_1"), layer.FfnNorm.Values, part, parts);
        barrier.Wait();
        bool upApart = layer.Up is { } other && !SharesActivations(layer.Gate, other);
        foreach ((int first, int end) in Pieces(layer.Gate, (index, Step.GateAndUp), part, parts, claims: !upApart)) // [rows, modelDim] → [rows, ffnDim]
        {
            Multiply(layer.Gate, layer.GateAdapter, first, end, Work.Gate, add: false);
            if (!upApart)
            {
                Activate(first, end);
            }
        }

        if (upApart)
        {
            barrier.Wait();
            NormInto(layer.Up!.Value, null, (index, null), layer.FfnNorm.Values, part, parts);
            barrier.Wait();
            (int first, int end) = Tiles(layer.Gate, part, parts);
            Activate(first, end);
        }

        barrier.Wait();
        Prepare(Work.Gate, layer.Proj2, layer.Proj2Adapter, (index, "ffn.proj_2"), part, parts);
        barrier.Wait();
        Multiply(layer.Proj2, layer.Proj2Adapter, Work.X, add: true, (index, Step.Down), part, parts); // x + [rows, ffnDim] → [rows, modelDim]
        barrier.Wait();

        // Of the columns whose gate is known.
        void Activate(int firstTile, int endTile)
        {
            int first = firstTile * TileFormats.Rows, columns = (endTile * TileFormats.Rows) - first;
            if (layer.Up is { } up)
            {
                Multiply(up, layer.UpAdapter, firstTile, endTile, Work.Up, add: false);
            }

            for (int row = 0; row < _count && columns > 0; row++)
            {
                kernels.SwiGlu(new Span<float>(Work.Gate.Pointer + (row * Work.Gate.Stride) + first, columns),
                    layer.Up is null ? default : new ReadOnlySpan<float>(Work.Up.Pointer + (row * Work.Up.Stride) + first, columns));
            }
        }
    }

    // logits = norm(x) · headᵀ, for the rows wanted alone: [wanted, modelDim] → [wanted, vocab]
    void Head(int part, int parts, SpinBarrier barrier)
    {
        TileMatrix head = weights.Head;
        ActivationRows to = Activations(head);
        for (int row = 0, wanted = 0; row < _count; row++)
        {
            if (_rows[row].LogitRow >= 0 && wanted++ % parts == part)
            {
                Normalise(row, weights.FinalNorm.Values, part, head, to.Row(_rows[row].LogitRow));
                Observer?.ObserveProduct(config.ShareInputOutputLayers ? TensorNames.Embedding : TensorNames.Classifier, Work.Normed.Row(part, ModelDim), ModelDim);
            }
        }

        barrier.Wait();
        foreach ((int firstTile, int endTile) in Pieces(head, (weights.Layers.Length, default), part, parts))
        {
            Logits(head, to, firstTile, endTile);
        }
    }

    void Logits(in TileMatrix head, in ActivationRows to, int firstTile, int endTile)
    {
        if (_logitRows == 0 || firstTile == endTile)
        {
            return;
        }

        int whole = Math.Min(endTile, config.VocabSize / TileFormats.Rows);
        if (firstTile < whole)
        {
            kernels.Products.MatMul(head, firstTile, whole, to, _logitRows, _logits, config.VocabSize, add: false);
        }

        // A last tile that is not full is computed aside, so that nothing is written behind a row of logits.
        for (int row = 0; row < _logitRows && whole < endTile; row++)
        {
            kernels.Products.MatMul(head, whole, endTile, to with { Address = (nint)to.Row(row) }, 1, Work.Logits.Pointer, Work.Logits.Stride, add: false);
            int first = whole * TileFormats.Rows;
            Work.Logits.Row(0, config.VocabSize)[first..].CopyTo(new Span<float>(_logits + ((long)row * config.VocabSize) + first, config.VocabSize - first));
        }
    }

    // The activations of a product: norm(x), in the form its matrix wants.
    void NormInto(in TileMatrix matrix, AdapterTiles? adapter, (int Layer, string? Part) name, ReadOnlySpan<float> norm, int part, int parts)
    {
        ActivationRows to = Activations(matrix);
        RowShare share = Share(_count, part, parts);
        foreach (int row in share)
        {
            Normalise(row, norm, part, matrix, to.Row(row));
            Observe(name, Work.Normed.Row(part, ModelDim));
            if (adapter is not null)
            {
                Work.Normed.Row(part, ModelDim).CopyTo(Work.AdapterInput!.Row(row, ModelDim));
            }
        }

        Reduce(adapter, Work.AdapterInput, share);
    }

    void Normalise(int row, ReadOnlySpan<float> norm, int part, in TileMatrix matrix, byte* to)
    {
        kernels.RmsNorm(Work.X.Row(row, ModelDim), norm, (float)config.RmsNormEps, Work.Normed.Row(part, ModelDim));
        ActivationPacking.Convert(Work.Normed.Pointer + (part * Work.Normed.Stride), ModelDim, kernels.Products.FormFor(matrix.Format), matrix.Format, to);
    }

    // The activations of a product, in the form its matrix wants.
    void Prepare(Workspace.Buffer from, in TileMatrix matrix, AdapterTiles? adapter, (int Layer, string? Part) name, int part, int parts)
    {
        ActivationRows to = Activations(matrix);
        RowShare share = Share(_count, part, parts);
        foreach (int row in share)
        {
            ActivationPacking.Convert(from.Pointer + (row * from.Stride), matrix.Columns, to.Form, matrix.Format, to.Row(row));
            Observe(name, from.Row(row, matrix.Columns));
        }

        Reduce(adapter, from, share);
    }

    // A·x of this thread's rows, in floats whatever the matrix is stored as.
    void Reduce(AdapterTiles? adapter, Workspace.Buffer? from, RowShare share)
    {
        if (adapter is not null && share.Count > 0)
        {
            ActivationRows x = new(ActivationForm.F32, (nint)(from!.Pointer + (share.First * from.Stride)), from.Stride * sizeof(float));
            ActivationRows to = Work.LowRank(adapter.Rank);
            kernels.Products.MatMul(adapter.A, 0, adapter.A.Tiles, x, share.Count, (float*)to.Row(share.First), to.Stride / sizeof(float), add: false);
        }
    }

    void Observe((int Layer, string? Part) name, ReadOnlySpan<float> x)
    {
        if (Observer is { } observer && name.Part is { } part)
        {
            observer.ObserveProduct(TensorNames.Layer(name.Layer, part), x, x.Length);
        }
    }

    // y = activations · matrixᵀ (+ y) for this thread's tiles.
    void Multiply(in TileMatrix matrix, AdapterTiles? adapter, Workspace.Buffer y, bool add, (int Layer, Step Step) step, int part, int parts)
    {
        foreach ((int first, int end) in Pieces(matrix, step, part, parts))
        {
            Multiply(matrix, adapter, first, end, y, add);
        }
    }

    void Multiply(in TileMatrix matrix, AdapterTiles? adapter, int firstTile, int endTile, Workspace.Buffer y, bool add)
    {
        if (firstTile >= endTile)
        {
            return;
        }

        if (adapter?.Factor is { } factor)
        {
            MultiplyScaled(matrix, factor.Values, firstTile, endTile, y, add);
        }
        else
        {
            kernels.Products.MatMul(matrix, firstTile, endTile, Activations(matrix), _count, y.Pointer, y.Stride, add);
        }

        if (adapter is not null)
        {
            kernels.Products.MatMul(adapter.B, firstTile, endTile, Work.LowRank(adapter.Rank), _count, y.Pointer, y.Stride, add: true);
        }
    }

    // DoRA: each output of the product is scaled before anything is added to it.
    void MultiplyScaled(in TileMatrix matrix, ReadOnlySpan<float> factor, int firstTile, int endTile, Workspace.Buffer y, bool add)
    {
        Workspace.Buffer product = add ? Work.Product! : y;
        kernels.Products.MatMul(matrix, firstTile, endTile, Activations(matrix), _count, product.Pointer, product.Stride, add: false);
        int first = firstTile * TileFormats.Rows, columns = Math.Min(endTile * TileFormats.Rows, matrix.Rows) - first;
        for (int row = 0; row < _count; row++)
        {
            Span<float> values = product.Row(row, matrix.Rows).Slice(first, columns), to = y.Row(row, matrix.Rows).Slice(first, columns);
            TensorPrimitives.Multiply(values, factor.Slice(first, columns), values);
            if (add)
            {
                TensorPrimitives.Add(to, values, to);
            }
        }
    }

    bool Claims(int parts) => parts > 1 && _count >= RowsToClaim;

    static int Number((int Layer, Step Step) step) => (step.Layer * (int)Step.Count) + (int)step.Step;

    TilePieces Pieces(in TileMatrix matrix, (int Layer, Step Step) step, int part, int parts, bool claims = true) =>
        new(claims && Claims(parts) ? _shares : null, Number(step), matrix.Tiles, parts, Tiles(matrix, part, parts));

    ActivationRows Activations(in TileMatrix matrix) => Work.Activations(kernels.Products.FormFor(matrix.Format), matrix.Columns);

    bool SharesActivations(in TileMatrix a, in TileMatrix b) =>
        kernels.Products.FormFor(a.Format) == kernels.Products.FormFor(b.Format)
        && (!a.Format.IsInteger() || (a.Format.ZeroPoint() == b.Format.ZeroPoint() && (a.Format == TileFormat.Int6K) == (b.Format == TileFormat.Int6K)));

    static (int First, int End) Tiles(in TileMatrix matrix, int part, int parts) =>
        ((int)((long)matrix.Tiles * part / parts), (int)((long)matrix.Tiles * (part + 1) / parts));

    static RowShare Share(int count, int part, int parts) => new((int)((long)count * part / parts), (int)((long)count * (part + 1) / parts));

    /// <summary>The tiles of one thread, in one piece or as they are claimed, for <c>foreach</c>.</summary>
    struct TilePieces(ClaimedShares? shares, int step, int tiles, int parts, (int First, int End) own)
    {
        const int SideBySide = 4;

        bool _done;

        public (int First, int End) Current { get; private set; }

        public readonly TilePieces GetEnumerator() => this;

        public bool MoveNext()
        {
            if (shares is not null)
            {
                bool any = shares.TryClaim(step, tiles, SideBySide, parts, out int first, out int end);
                Current = (first, end);
                return any;
            }

            Current = own;
            return !_done && (_done = true);
        }
    }

    /// <summary>The rows of one thread, for <c>foreach</c>.</summary>
    struct RowShare(int first, int end)
    {
        int _next = first - 1;

        public readonly int Current => _next;

        public readonly int First => first;

        public readonly int Count => end - first;

        public readonly RowShare GetEnumerator() => this;

        public bool MoveNext() => ++_next < end;
    }
}
