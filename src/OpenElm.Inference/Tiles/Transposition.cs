using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using OpenElm.Inference.Kernels.Vectors;

namespace OpenElm.Inference.Tiles;

/// <summary>Rows → columns: what lies side by side in 16 rows comes to lie in 16 lanes. Squares of 4 × 4 words, which every processor with vectors turns in registers, and of 8 × 8 words with AVX2.</summary>
internal static unsafe class Transposition
{
    const int Lanes = TileFormats.Rows;

    /// <summary>to[w · step][lane] = the w-th word of the lane's row.</summary>
    /// <param name="row">[16] rows.</param>
    /// <param name="at">Where the words begin, in bytes from the start of a row.</param>
    /// <param name="words">Words.</param>
    /// <param name="flip">Bits that change.</param>
    /// <param name="to">[words · step, 16].</param>
    /// <param name="step">Vectors from one word to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // a model is packed once: no time to find out that this is hot
    public static void Words(byte** row, int at, int words, uint flip, uint* to, int step = 1)
    {
        int done = Avx2.IsSupported ? Squares8(row, at, words, flip, to, step) : 0;
        var flips = Vector128.Create(flip);
        int whole = words / 4 * 4;
        for (int w = done; w < whole; w += 4)
        {
            for (int lane = 0; lane < Lanes; lane += 4)
            {
                uint* a = (uint*)(row[lane] + at) + w, b = (uint*)(row[lane + 1] + at) + w, c = (uint*)(row[lane + 2] + at) + w, d = (uint*)(row[lane + 3] + at) + w;
                Turn(
                    Vector128.Load(a) ^ flips, Vector128.Load(b) ^ flips, Vector128.Load(c) ^ flips, Vector128.Load(d) ^ flips,
                    to + (w * step * Lanes) + lane, step);
            }
        }

        for (int w = whole; w < words; w++)
        {
            for (int lane = 0; lane < Lanes; lane++)
            {
                to[(w * step * Lanes) + lane] = ((uint*)(row[lane] + at))[w] ^ flip;
            }
        }
    }

    // Squares of 8 × 8 words. Whole lines are stored past the caches: a model is larger than they are, and such a line is not read before it
    // is written. (Measured on 266 MB, two threads: 18 ms, with ordinary stores 32 ms, with squares of 4 × 4 words 35 ms.)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static int Squares8(byte** row, int at, int words, uint flip, uint* to, int step)
    {
        var flips = Vector256.Create(flip);
        bool past = step == 1 && (nuint)to % 64 == 0;
        int w = 0;
        for (; w + 8 <= words; w += 8)
        {
            int from = at + (w * sizeof(uint));
            for (int lane = 0; lane < Lanes; lane += 8)
            {
                byte** rows = row + lane;
                Turn(Eight(rows[0] + from, flips), Eight(rows[1] + from, flips), Eight(rows[2] + from, flips), Eight(rows[3] + from, flips), out Vector256<uint> a, out Vector256<uint> b, out Vector256<uint> c, out Vector256<uint> d);
                Turn(Eight(rows[4] + from, flips), Eight(rows[5] + from, flips), Eight(rows[6] + from, flips), Eight(rows[7] + from, flips), out Vector256<uint> e, out Vector256<uint> f, out Vector256<uint> g, out Vector256<uint> h);
                uint* square = to + (w * step * Lanes) + lane;
                Store(a, e, square, step, past);
                Store(b, f, square + (step * Lanes), step, past);
                Store(c, g, square + (2 * step * Lanes), step, past);
                Store(d, h, square + (3 * step * Lanes), step, past);
            }
        }

        return w;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<uint> Eight(byte* from, Vector256<uint> flips) => Vector256.Load((uint*)from) ^ flips;

    // A word of eight rows, and the word four behind it: the lower and the upper halves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store(Vector256<uint> four, Vector256<uint> otherFour, uint* to, int step, bool past)
    {
        Vector256<uint> word = Avx2.Permute2x128(four, otherFour, 0x20), next = Avx2.Permute2x128(four, otherFour, 0x31);
        if (past)
        {
            word.StoreAlignedNonTemporal(to);
            next.StoreAlignedNonTemporal(to + (4 * Lanes));
        }
        else
        {
            word.Store(to);
            next.Store(to + (4 * step * Lanes));
        }
    }

    /// <summary>to[c][lane] = the c-th half of the lane's row, as a float.</summary>
    /// <param name="row">[16] rows of halves.</param>
    /// <param name="columns">Halves of a row.</param>
    /// <param name="to">[columns, 16].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Halves(byte** row, int columns, float* to)
    {
        int whole = columns / 4 * 4;
        for (int c = 0; c < whole; c += 4)
        {
            for (int lane = 0; lane < Lanes; lane += 4)
            {
                Turn(Four(row[lane], c), Four(row[lane + 1], c), Four(row[lane + 2], c), Four(row[lane + 3], c), (uint*)to + (c * Lanes) + lane, step: 1);
            }
        }

        for (int c = whole; c < columns; c++)
        {
            for (int lane = 0; lane < Lanes; lane++)
            {
                to[(c * Lanes) + lane] = (float)((Half*)row[lane])[c];
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<uint> Four(byte* from, int c) => Lanes128.LoadHalves(from + (c * 2)).AsUInt32();
    }

    /// <summary>to[b][lane] = the b-th byte of the lane's word.</summary>
    /// <param name="words">[16].</param>
    /// <param name="to">[4, 16].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Bytes(uint* words, byte* to)
    {
        Turn(Sorted(words), Sorted(words + 4), Sorted(words + 8), Sorted(words + 12), to, to + Lanes, to + (2 * Lanes), to + (3 * Lanes));

        // Byte 0 of four words, byte 1 of four words …
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<uint> Sorted(uint* four) => Vector128.Shuffle(
            Vector128.Load((byte*)four), Vector128.Create((byte)0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)).AsUInt32();
    }

    // Word k of each row, of both halves, in the k-th result.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Turn(
        Vector256<uint> a, Vector256<uint> b, Vector256<uint> c, Vector256<uint> d,
        out Vector256<uint> first, out Vector256<uint> second, out Vector256<uint> third, out Vector256<uint> fourth)
    {
        Vector256<ulong> ab0 = Avx2.UnpackLow(a, b).AsUInt64(), cd0 = Avx2.UnpackLow(c, d).AsUInt64();
        Vector256<ulong> ab2 = Avx2.UnpackHigh(a, b).AsUInt64(), cd2 = Avx2.UnpackHigh(c, d).AsUInt64();
        (first, second) = (Avx2.UnpackLow(ab0, cd0).AsUInt32(), Avx2.UnpackHigh(ab0, cd0).AsUInt32());
        (third, fourth) = (Avx2.UnpackLow(ab2, cd2).AsUInt32(), Avx2.UnpackHigh(ab2, cd2).AsUInt32());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Turn(Vector128<uint> a, Vector128<uint> b, Vector128<uint> c, Vector128<uint> d, uint* to, int step) =>
        Turn(a, b, c, d, to, to + (step * Lanes), to + (2 * step * Lanes), to + (3 * step * Lanes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Turn(Vector128<uint> a, Vector128<uint> b, Vector128<uint> c, Vector128<uint> d, void* to0, void* to1, void* to2, void* to3)
    {
        Vector128<ulong> ab0 = Lower(a, b), cd0 = Lower(c, d), ab2 = Upper(a, b), cd2 = Upper(c, d);
        Lower(ab0, cd0).Store((ulong*)to0);
        Upper(ab0, cd0).Store((ulong*)to1);
        Lower(ab2, cd2).Store((ulong*)to2);
        Upper(ab2, cd2).Store((ulong*)to3);
    }

    // a[0], b[0], a[1], b[1].
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<ulong> Lower(Vector128<uint> a, Vector128<uint> b) => Vector128.ConditionalSelect(
        Vector128.Create(uint.MaxValue, 0, uint.MaxValue, 0), Vector128.Shuffle(a, Vector128.Create(0u, 0, 1, 1)), Vector128.Shuffle(b, Vector128.Create(0u, 0, 1, 1))).AsUInt64();

    // a[2], b[2], a[3], b[3].
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<ulong> Upper(Vector128<uint> a, Vector128<uint> b) => Vector128.ConditionalSelect(
        Vector128.Create(uint.MaxValue, 0, uint.MaxValue, 0), Vector128.Shuffle(a, Vector128.Create(2u, 2, 3, 3)), Vector128.Shuffle(b, Vector128.Create(2u, 2, 3, 3))).AsUInt64();

    // a[0], b[0].
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<ulong> Lower(Vector128<ulong> a, Vector128<ulong> b) =>
        Vector128.ConditionalSelect(Vector128.Create(ulong.MaxValue, 0), a, Vector128.Shuffle(b, Vector128.Create(0ul, 0)));

    // a[1], b[1].
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<ulong> Upper(Vector128<ulong> a, Vector128<ulong> b) =>
        Vector128.ConditionalSelect(Vector128.Create(ulong.MaxValue, 0), Vector128.Shuffle(a, Vector128.Create(1ul, 1)), b);
}
