using System.Numerics.Tensors;
using System.Runtime.Intrinsics;
using OpenElm.Inference.Kernels.Vectors;
using OpenElm.Inference.Memory;

namespace OpenElm.Inference.Kernels;

/// <summary>
/// Causal attention in blocks of 64 keys with a running maximum and sum (as FlashAttention does): memory grows with the length, never with
/// its square. The rows are the query heads of one KV head at neighbouring positions: they share every key and value that is read. Blocks begin
/// at fixed positions and each row has its own maximum and sum, so a position gets the same bits alone and in a prompt.
/// </summary>
/// <param name="headDim">Width of a head.</param>
/// <param name="queryHeads">Query heads that share a KV head.</param>
/// <param name="product">The kernel set's product.</param>
internal sealed unsafe class BlockedAttention(int headDim, int queryHeads, FloatProductKernel product) : IDisposable
{
    const int Block = KvCache.Block;

    // Rows that share a block while it is in the first cache: 64 × (headDim + 64 + valueDim) floats.
    readonly int _positions = Math.Max(1, 64 / queryHeads);
    readonly int _valueDim = (headDim + 15) / 16 * 16;
    readonly NativeFloats _scratch = new((Math.Max(1, 64 / queryHeads) * queryHeads * ((2L * (headDim + 15)) + Block + 2)) + KvCache.ScratchFloats(headDim) + 64);

    /// <summary>Positions that are attended together.</summary>
    public int Positions => _positions;

    /// <summary>heads = softmax(Q · Kᵀ / √headDim, causal) · V for neighbouring positions and one KV head.</summary>
    /// <param name="cache">Keys and values, these positions among them.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="kvHead">The KV head.</param>
    /// <param name="first">The first position.</param>
    /// <param name="count">How many positions, at most <see cref="Positions"/>.</param>
    /// <param name="queries">The query heads of the first position, [queryHeads, headDim].</param>
    /// <param name="queryStride">Floats to the next position's.</param>
    /// <param name="heads">Where the first position's result goes, [queryHeads, headDim].</param>
    /// <param name="headStride">Floats to the next position's.</param>
    public void Run(KvCache cache, int layer, int kvHead, int first, int count, float* queries, long queryStride, float* heads, long headStride)
    {
        int rows = count * queryHeads;
        float* values = _scratch.Pointer, converted = values; // carved below, blocks of the cache first: they want alignment
        float* output = converted + ((KvCache.ScratchFloats(headDim) + 15) / 16 * 16), scores = output + ((long)rows * _valueDim);
        float* query = scores + ((long)rows * Block), largest = query + ((long)rows * headDim), sum = largest + rows;
        float scale = 1 / MathF.Sqrt(headDim);
        for (int t = 0; t < count; t++)
        {
            int width = queryHeads * headDim;
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(queries + (t * queryStride), width), scale, new Span<float>(query + (t * width), width));
        }

        new Span<float>(output, rows * _valueDim).Clear();
        new Span<float>(sum, rows).Clear();
        new Span<float>(largest, rows).Fill(float.NegativeInfinity);
        for (int start = 0; start < first + count; start += Block)
        {
            cache.Floats(layer, kvHead, start / Block, converted, out float* keys, out values);

            // Rows whose position is before the block see nothing of it.
            int from = Math.Max(0, start - first) * queryHeads;
            product(keys, 16, headDim * 16L, Block / 16, query + ((long)from * headDim), headDim, rows - from, headDim, scores + ((long)from * Block), Block, add: false); // [rows, 64]
            for (int row = from; row < rows; row++)
            {
                int visible = Math.Min(Block, first + (row / queryHeads) + 1 - start); // causal: a position sees itself and what is before it
                float before = largest[row];
                float factor = Softmax(scores + ((long)row * Block), visible, ref largest[row], ref sum[row]);
                if (largest[row] != before)
                {
                    Scale(output + ((long)row * _valueDim), factor);
                }
            }

            product(values, _valueDim, 16, _valueDim / 16, scores + ((long)from * Block), Block, rows - from, Block, output + ((long)from * _valueDim), _valueDim, add: true); // [rows, valueDim]
        }

        for (int row = 0; row < rows; row++)
        {
            float* to = heads + (row / queryHeads * headStride) + (row % queryHeads * headDim);
            TensorPrimitives.Divide(new ReadOnlySpan<float>(output + ((long)row * _valueDim), headDim), sum[row], new Span<float>(to, headDim));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _scratch.Dispose();

    // scores = e^(scores − the new maximum), 0 where not visible; returns what earlier sums are multiplied by.
    static float Softmax(float* scores, int visible, ref float largest, ref float sum)
    {
        new Span<float>(scores + visible, Block - visible).Fill(float.NegativeInfinity);
        Vector256<float> top = Vector256.Load(scores);
        for (int i = 8; i < Block; i += 8)
        {
            top = Vector256.Max(top, Vector256.Load(scores + i));
        }

        float maximum = largest;
        for (int i = 0; i < 8; i++)
        {
            maximum = MathF.Max(maximum, top[i]);
        }

        float factor = MathF.Exp(largest - maximum); // 0 in the first block
        var shift = Vector256.Create(maximum);
        Vector256<float> sums = Vector256<float>.Zero;
        for (int i = 0; i < Block; i += 8)
        {
            Vector256<float> e = Exponential.Of(Vector256.Load(scores + i) - shift);
            e.Store(scores + i);
            sums += e;
        }

        (largest, sum) = (maximum, (sum * factor) + Vector256.Sum(sums));
        return factor;
    }

    void Scale(float* output, float factor)
    {
        for (int i = 0; i < _valueDim; i += 8)
        {
            (Vector256.Load(output + i) * factor).Store(output + i);
        }
    }
}
