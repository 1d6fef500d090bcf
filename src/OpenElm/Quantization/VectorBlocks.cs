using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using OpenElm.Checkpoints;

namespace OpenElm.Quantization;

/// <summary>
/// Reads blocks sixteen elements at a time: the operations of each format's <see cref="BlockFormat.Dequantize"/> in the same order, so the same bits.
/// Formats of 5 and 6 bits are read one by one.
/// </summary>
internal static class VectorBlocks
{
    const int Lanes = 16;

    /// <summary>Reads blocks.</summary>
    /// <param name="dtype">A block format.</param>
    /// <param name="blocks">Whole blocks.</param>
    /// <param name="values">[elements of all blocks].</param>
    /// <returns>False where the format has no vector reader; nothing is read then.</returns>
    public static bool TryDequantize(DType dtype, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        switch (dtype)
        {
            case DType.Q4_0:
                ReadQ4_0(blocks, values);
                return true;
            case DType.Q4_1:
                ReadQ4_1(blocks, values);
                return true;
            case DType.Q8_0:
                ReadQ8_0(blocks, values);
                return true;
            case DType.Q4_K:
                ReadQ4_K(blocks, values);
                return true;
            default:
                return false;
        }
    }

    static void ReadQ4_0(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length > 0; blocks = blocks[18..], values = values[32..])
        {
            Vector512<float> d = Half(blocks, 0);
            Vector128<byte> packed = Vector128.Create(blocks.Slice(2, Lanes));
            (Vector512.ConvertToSingle(Widen(packed & Vector128.Create((byte)15)) - Vector512.Create(8)) * d).CopyTo(values);
            (Vector512.ConvertToSingle(Widen(packed >>> 4) - Vector512.Create(8)) * d).CopyTo(values[Lanes..]);
        }
    }

    static void ReadQ4_1(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length > 0; blocks = blocks[20..], values = values[32..])
        {
            Vector512<float> d = Half(blocks, 0), m = Half(blocks, 2);
            Vector128<byte> packed = Vector128.Create(blocks.Slice(4, Lanes));
            ((Vector512.ConvertToSingle(Widen(packed & Vector128.Create((byte)15))) * d) + m).CopyTo(values);
            ((Vector512.ConvertToSingle(Widen(packed >>> 4)) * d) + m).CopyTo(values[Lanes..]);
        }
    }

    static void ReadQ8_0(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length > 0; blocks = blocks[34..], values = values[32..])
        {
            Vector512<float> d = Half(blocks, 0);
            for (int at = 0; at < 32; at += Lanes)
            {
                // Levels are signed: with the sign bit turned they are 128 more.
                Vector128<byte> levels = Vector128.Create(blocks.Slice(2 + at, Lanes)) ^ Vector128.Create((byte)128);
                (Vector512.ConvertToSingle(Widen(levels) - Vector512.Create(128)) * d).CopyTo(values[at..]);
            }
        }
    }

    static void ReadQ4_K(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        const int Groups = 8, Width = 32;
        Span<byte> scales = stackalloc byte[Groups], minimums = stackalloc byte[Groups];
        for (; blocks.Length > 0; blocks = blocks[144..])
        {
            KScales.Unpack(blocks.Slice(4, KScales.Bytes), scales, minimums);
            float d = ReadHalf(blocks, 0), dmin = ReadHalf(blocks, 2);
            for (int g = 0; g < Groups; g += 2, values = values[(2 * Width)..])
            {
                ReadOnlySpan<byte> pair = blocks.Slice(4 + KScales.Bytes + (g / 2 * Width), Width); // two groups: the even one in the lower halves
                Vector512<float> evenScale = Vector512.Create(d * scales[g]), oddScale = Vector512.Create(d * scales[g + 1]);
                Vector512<float> evenMinimum = Vector512.Create(dmin * minimums[g]), oddMinimum = Vector512.Create(dmin * minimums[g + 1]);
                for (int at = 0; at < Width; at += Lanes)
                {
                    Vector128<byte> packed = Vector128.Create(pair.Slice(at, Lanes));
                    ((evenScale * Vector512.ConvertToSingle(Widen(packed & Vector128.Create((byte)15)))) - evenMinimum).CopyTo(values[at..]);
                    ((oddScale * Vector512.ConvertToSingle(Widen(packed >>> 4))) - oddMinimum).CopyTo(values[(Width + at)..]);
                }
            }
        }
    }

    static Vector512<int> Widen(Vector128<byte> levels)
    {
        if (Avx512F.IsSupported)
        {
            return Avx512F.ConvertToVector512Int32(levels);
        }

        (Vector128<ushort> low, Vector128<ushort> high) = Vector128.Widen(levels);
        (Vector128<uint> a, Vector128<uint> b) = Vector128.Widen(low);
        (Vector128<uint> c, Vector128<uint> d) = Vector128.Widen(high);
        return Vector512.Create(Vector256.Create(a, b), Vector256.Create(c, d)).AsInt32();
    }

    static Vector512<float> Half(ReadOnlySpan<byte> block, int at) => Vector512.Create(ReadHalf(block, at));

    static float ReadHalf(ReadOnlySpan<byte> block, int at) => (float)BinaryPrimitives.ReadHalfLittleEndian(block[at..]);
}
