using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using OpenElm.Inference.Kernels.Vectors;
using OpenElm.Inference.Memory;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels;

/// <summary>
/// Causal attention in blocks of 64 keys with a running maximum and sum (as FlashAttention does): memory grows with the length, never with
/// its square. The rows are the query heads of one KV head at neighbouring positions: they share every key and value that is read. Blocks begin
/// at fixed positions and each row has its own maximum and sum, so a position gets the same bits alone and in a prompt.
/// Where the kernel set multiplies bfloat16, a BF16 cache is used as it is stored: queries and the weights of the values are rounded too (sums are not),
/// which takes half the time. Else the cache is widened to floats, block by block.
/// </summary>
/// <param name="headDim">Width of a head.</param>
/// <param name="queryHeads">Query heads that share a KV head.</param>
/// <param name="products">The kernel set's products.</param>
internal sealed unsafe class BlockedAttention(int headDim, int queryHeads, TileProducts products) : IDisposable
{
    const int Block = KvCache.Block, Lanes = TileFormats.Rows;

    // Rows that share a block while it is in the first cache: 64 × (headDim + 64 + valueDim) floats.
    readonly int _positions = Math.Max(1, 64 / queryHeads);
    readonly int _valueDim = Padded(headDim);
    readonly NativeFloats _scratch = new(KvCache.ScratchFloats(headDim) + (Math.Max(1, 64 / queryHeads) * queryHeads * ((2L * Padded(headDim)) + (2 * Block) + 2)) + 64);

    /// <summary>Positions that are attended together.</summary>
    public int Positions => _positions;

    /// <summary>heads = softmax(Q · Kᵀ / √headDim, causal) · V for neighbouring positions and one KV head.</summary>
    /// <param name="cache">Keys and values, these positions among them.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="kvHead">The KV head.</param>
    /// <param name="first">The first position.</param>
    /// <param name="count">How many positions, at most <see cref="Positions"/>.</param>
    /// <param name="queries">The query heads of the first position, [queryHeads, headDim]; multiplied by 1 / √headDim here.</param>
    /// <param name="queryStride">Floats to the next position's.</param>
    /// <param name="heads">Where the first position's result goes, [queryHeads, headDim].</param>
    /// <param name="headStride">Floats to the next position's.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Run(KvCache cache, int layer, int kvHead, int first, int count, float* queries, long queryStride, float* heads, long headStride)
    {
        bool pairs = cache.Type == KvCacheType.BF16 && products.Pairs is not null;
        int rows = count * queryHeads, width = queryHeads * headDim;
        float* widened = _scratch.Pointer; // what is carved first is aligned best
        float* output = widened + Padded(KvCache.ScratchFloats(headDim)), scores = output + ((long)rows * _valueDim);
        float* query = scores + ((long)rows * Block), largest = query + ((long)rows * _valueDim), sum = largest + rows;
        ushort* roundedQuery = (ushort*)query, weights = pairs ? (ushort*)(sum + rows) : null;
        float scale = 1 / MathF.Sqrt(headDim);
        for (int t = 0; t < count; t++)
        {
            float* from = queries + (t * queryStride), to = pairs ? from : query + (t * width);
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(from, width), scale, new Span<float>(to, width));
            if (pairs)
            {
                ActivationPacking.Convert(to, width, ActivationForm.BF16, TileFormat.BF16, (byte*)(roundedQuery + (t * width)));
            }
        }

        new Span<float>(output, rows * _valueDim).Clear();
        new Span<float>(sum, rows).Clear();
        new Span<float>(largest, rows).Fill(float.NegativeInfinity);
        for (int start = 0; start < first + count; start += Block)
        {
            // Rows whose position is before the block see nothing of it; of the last block, nobody sees the last tiles.
            int from = Math.Max(0, start - first) * queryHeads, keysHere = Math.Min(Block, Padded(first + count - start));
            float* s = scores + ((long)from * Block), o = output + ((long)from * _valueDim), values = null;
            ushort* shortValues = null;
            if (pairs)
            {
                cache.Pairs(layer, kvHead, start / Block, out ushort* keys, out shortValues);
                products.Pairs!(keys, 2 * Lanes, headDim * (long)Lanes, keysHere / Lanes, roundedQuery + ((long)from * headDim), headDim, rows - from, headDim / 2, s, Block, add: false);
            }
            else
            {
                cache.Floats(layer, kvHead, start / Block, widened, out float* keys, out values);
                products.Floats(keys, Lanes, headDim * (long)Lanes, keysHere / Lanes, query + ((long)from * headDim), headDim, rows - from, headDim, s, Block, add: false);
            }

            for (int row = from; row < rows; row++)
            {
                int visible = Math.Min(Block, first + (row / queryHeads) + 1 - start); // causal: a position sees itself and what is before it
                float factor = Softmax(scores + ((long)row * Block), visible, keysHere, weights == null ? null : weights + ((long)row * Block), ref largest[row], ref sum[row]);
                if (factor != 1)
                {
                    Scale(output + ((long)row * _valueDim), factor);
                }
            }

            if (pairs)
            {
                products.Pairs!(shortValues, 2 * _valueDim, 2 * Lanes, _valueDim / Lanes, weights + ((long)from * Block), Block, rows - from, keysHere / 2, o, _valueDim, add: true);
            }
            else
            {
                products.Floats(values, _valueDim, Lanes, _valueDim / Lanes, s, Block, rows - from, keysHere, o, _valueDim, add: true);
            }
        }

        for (int row = 0; row < rows; row++)
        {
            float* to = heads + (row / queryHeads * headStride) + (row % queryHeads * headDim);
            TensorPrimitives.Divide(new ReadOnlySpan<float>(output + ((long)row * _valueDim), headDim), sum[row], new Span<float>(to, headDim));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _scratch.Dispose();

    static int Padded(int count) => (count + Lanes - 1) / Lanes * Lanes;

    // e^(scores − the new maximum), 0 where not visible, in place or rounded to bfloat16; returns what earlier sums are multiplied by.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float Softmax(float* scores, int visible, int width, ushort* rounded, ref float largest, ref float sum)
    {
        for (int i = visible; i < width; i++)
        {
            scores[i] = float.NegativeInfinity;
        }

        Vector256<float> top = Vector256.MaxNative(Vector256.Load(scores), Vector256.Load(scores + 8));
        for (int i = 16; i < width; i += 16)
        {
            top = Vector256.MaxNative(top, Vector256.MaxNative(Vector256.Load(scores + i), Vector256.Load(scores + i + 8)));
        }

        // A score that is no number may be lost here; its weight and the sum are none either.
        Vector128<float> top4 = Vector128.MaxNative(top.GetLower(), top.GetUpper());
        top4 = Vector128.MaxNative(top4, Vector128.Shuffle(top4, Vector128.Create(2, 3, 0, 1)));
        top4 = Vector128.MaxNative(top4, Vector128.Shuffle(top4, Vector128.Create(1, 0, 3, 2)));
        float maximum = MathF.Max(largest, top4.ToScalar()), factor = maximum == largest ? 1 : MathF.Exp(largest - maximum); // 0 in the first block
        var shift = Vector256.Create(maximum);
        Vector256<float> sums = Vector256<float>.Zero;
        for (int i = 0; i < width; i += 16)
        {
            Vector256<float> e0 = Exponential.Of(Vector256.Load(scores + i) - shift), e1 = Exponential.Of(Vector256.Load(scores + i + 8) - shift);
            sums = sums + e0 + e1;
            if (rounded == null)
            {
                e0.Store(scores + i);
                e1.Store(scores + i + 8);
            }
            else
            {
                ActivationPacking.BFloat16(e0, e1).Store(rounded + i);
            }
        }

        (largest, sum) = (maximum, (sum * factor) + Vector256.Sum(sums));
        return factor;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void Scale(float* output, float factor)
    {
        for (int i = 0; i < _valueDim; i += 8)
        {
            (Vector256.Load(output + i) * factor).Store(output + i);
        }
    }
}
