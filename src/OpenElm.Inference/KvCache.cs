using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Memory;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference;

/// <summary>
/// Keys (normalised and rotated) and values of one sequence, allocated once. Each KV head of a layer has its own keys and values, in blocks
/// of 64 positions: keys in tiles of 16 positions [headDim][16], values row by row [64][headDim, padded to 16], so that both products of attention
/// run over them as over weights. BF16 keeps two neighbours of the summed dimension side by side, as tiles of weights do: keys [headDim / 2][16][2],
/// values [32][headDim, padded][2]. I8 has a float scale for each position beside them.
/// </summary>
internal sealed unsafe class KvCache : SequenceCache
{
    /// <summary>Positions of a block.</summary>
    public const int Block = 64;

    const int Lanes = TileFormats.Rows;

    readonly NativeFloats _memory;
    readonly ImmutableArray<long> _layerStart; // in blocks
    readonly int _headDim, _valueDim, _blocks;
    readonly long _blockBytes, _keyBytes;

    /// <summary>Allocates room for a sequence; pages that are never touched cost nothing.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="capacity">The longest sequence.</param>
    /// <param name="type">How numbers are kept.</param>
    public KvCache(OpenElmConfig config, int capacity, KvCacheType type)
    {
        (_headDim, Capacity, Type) = (config.HeadDim, capacity, type);
        _valueDim = (_headDim + Lanes - 1) / Lanes * Lanes;
        _blocks = (capacity + Block - 1) / Block;
        int size = type switch { KvCacheType.F32 => 4, KvCacheType.BF16 => 2, _ => 1 };
        long scales = type == KvCacheType.I8 ? Block * sizeof(float) : 0;
        _keyBytes = ((long)Block * _headDim * size) + scales;
        _blockBytes = checked((_keyBytes + ((long)Block * _valueDim * size) + scales + 63) & ~63L);
        var starts = ImmutableArray.CreateBuilder<long>(config.Layers.Length);
        long total = 0;
        foreach (LayerShape layer in config.Layers)
        {
            starts.Add(total);
            total = checked(total + ((long)layer.KvHeads * _blocks));
        }

        _layerStart = starts.MoveToImmutable();
        _memory = new NativeFloats(checked(total * _blockBytes / sizeof(float)));
    }

    /// <summary>The longest sequence.</summary>
    public override int Capacity { get; }

    /// <summary>How numbers are kept.</summary>
    public KvCacheType Type { get; }

    /// <summary>Width of a row of values: headDim, padded to 16 with zeros.</summary>
    public int ValueDim => _valueDim;

    /// <summary>Floats of scratch that <see cref="Floats"/> needs.</summary>
    /// <param name="headDim">Width of a head.</param>
    /// <returns>Keys and values of a block.</returns>
    public static int ScratchFloats(int headDim) => Block * (headDim + ((headDim + Lanes - 1) / Lanes * Lanes));

    /// <summary>Stores one position of one head.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The KV head.</param>
    /// <param name="position">The position.</param>
    /// <param name="key">[headDim].</param>
    /// <param name="value">[headDim].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Store(int layer, int head, int position, ReadOnlySpan<float> key, ReadOnlySpan<float> value)
    {
        byte* block = BlockAt(layer, head, position / Block);
        int inBlock = position % Block;
        int firstKey = (inBlock / Lanes * _headDim * Lanes) + (inBlock % Lanes), firstValue = inBlock * _valueDim;
        switch (Type)
        {
            case KvCacheType.F32:
                float* keys = (float*)block + firstKey, values = (float*)(block + _keyBytes) + firstValue;
                for (int d = 0; d < _headDim; d++)
                {
                    (keys[d * Lanes], values[d]) = (key[d], value[d]);
                }

                break;
            case KvCacheType.BF16:
                ushort* shortKeys = (ushort*)block + (inBlock / Lanes * _headDim * Lanes) + (2 * (inBlock % Lanes));
                ushort* shortValues = (ushort*)(block + _keyBytes) + (inBlock / 2 * 2 * _valueDim) + (inBlock % 2);
                for (int d = 0; d < _headDim; d++)
                {
                    (shortKeys[(d / 2 * 2 * Lanes) + (d % 2)], shortValues[2 * d]) = (FloatEncoding.ToBFloat16(key[d]), FloatEncoding.ToBFloat16(value[d]));
                }

                break;
            default:
                sbyte* byteKeys = (sbyte*)block + firstKey, byteValues = (sbyte*)(block + _keyBytes) + firstValue;
                float keyScale = Scale(key), valueScale = Scale(value);
                ((float*)(block + ((long)Block * _headDim)))[inBlock] = keyScale;
                ((float*)(block + _keyBytes + ((long)Block * _valueDim)))[inBlock] = valueScale;
                for (int d = 0; d < _headDim; d++)
                {
                    (byteKeys[d * Lanes], byteValues[d]) = (Quantised(key[d], keyScale), Quantised(value[d], valueScale));
                }

                break;
        }

        static float Scale(ReadOnlySpan<float> x)
        {
            float largest = 0;
            foreach (float v in x)
            {
                largest = MathF.Max(largest, MathF.Abs(v)); // NaN stays NaN
            }

            return largest / 127;
        }

        static sbyte Quantised(float x, float scale) => scale > 0 ? (sbyte)MathF.Round(x / scale) : (sbyte)0;
    }

    /// <summary>A block of a BF16 cache, as it is stored.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The KV head.</param>
    /// <param name="block">The block.</param>
    /// <param name="keys">4 tiles of [headDim / 2][16][2].</param>
    /// <param name="values">[32, valueDim, 2].</param>
    public void Pairs(int layer, int head, int block, out ushort* keys, out ushort* values)
    {
        byte* from = BlockAt(layer, head, block);
        keys = (ushort*)from;
        values = (ushort*)(from + _keyBytes);
    }

    /// <summary>A block as floats: in place, or converted into the scratch.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="head">The KV head.</param>
    /// <param name="block">The block.</param>
    /// <param name="scratch">[<see cref="ScratchFloats"/>].</param>
    /// <param name="keys">4 tiles of [headDim][16].</param>
    /// <param name="values">[64, valueDim].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Floats(int layer, int head, int block, float* scratch, out float* keys, out float* values)
    {
        byte* from = BlockAt(layer, head, block);
        if (Type == KvCacheType.F32)
        {
            keys = (float*)from;
            values = (float*)(from + _keyBytes);
            return;
        }

        keys = scratch;
        values = scratch + ((long)Block * _headDim);
        if (Type == KvCacheType.BF16)
        {
            Widen((uint*)from, Lanes, Block / Lanes * (_headDim / 2), keys);
            Widen((uint*)(from + _keyBytes), _valueDim, Block / 2, values);
            return;
        }

        float* keyScales = (float*)(from + ((long)Block * _headDim)), valueScales = (float*)(from + _keyBytes + ((long)Block * _valueDim));
        for (int tile = 0; tile < Block / Lanes; tile++)
        {
            var scale = Vector512.Load(keyScales + (tile * Lanes));
            for (int d = 0; d < _headDim; d++)
            {
                long at = ((long)tile * _headDim * Lanes) + (d * Lanes);
                (Widen((sbyte*)from + at) * scale).Store(keys + at);
            }
        }

        for (int position = 0; position < Block; position++)
        {
            var scale = Vector512.Create(valueScales[position]);
            for (int d = 0; d < _valueDim; d += Lanes)
            {
                long at = (position * _valueDim) + d;
                (Widen((sbyte*)(from + _keyBytes) + at) * scale).Store(values + at);
            }
        }
    }

    /// <summary>Copies positions of another cache of the same model and type; those before the first are the same in both.</summary>
    /// <param name="source">The other.</param>
    /// <param name="first">The first position; the whole of its block is copied.</param>
    /// <param name="end">Behind the last position.</param>
    public override void CopyFrom(SequenceCache source, int first, int end)
    {
        NativeFloats memory = ((KvCache)source)._memory;
        int blocks = ((KvCache)source)._blocks;
        long start = first / Block * _blockBytes, bytes = ((end + Block - 1) / Block * _blockBytes) - start;
        long heads = _memory.Length * sizeof(float) / _blockBytes / _blocks; // of all layers
        for (long head = 0; head < heads && bytes > 0; head++)
        {
            Buffer.MemoryCopy(
                (byte*)memory.Pointer + (head * blocks * _blockBytes) + start, (byte*)_memory.Pointer + (head * _blocks * _blockBytes) + start, bytes, bytes);
        }
    }

    /// <inheritdoc/>
    public override void Dispose() => _memory.Dispose();

    // [count][width][2] bfloat16 → [2 · count][width] floats.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Widen(uint* from, int width, int count, float* to)
    {
        for (int i = 0; i < count; i++, from += width, to += 2 * width)
        {
            for (int lane = 0; lane < width; lane += 8)
            {
                var two = Vector256.Load(from + lane);
                (two << 16).AsSingle().Store(to + lane);
                (two & Vector256.Create(0xFFFF0000)).AsSingle().Store(to + width + lane);
            }
        }
    }

    static Vector512<float> Widen(sbyte* from)
    {
        var bytes = Vector128.Load(from);
        (Vector128<short> low, Vector128<short> high) = Vector128.Widen(bytes);
        return Vector512.ConvertToSingle(Vector512.Create(
            Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)), Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high))));
    }

    byte* BlockAt(int layer, int head, int block) =>
        (byte*)_memory.Pointer + ((_layerStart[layer] + ((long)head * _blocks) + block) * _blockBytes);
}
