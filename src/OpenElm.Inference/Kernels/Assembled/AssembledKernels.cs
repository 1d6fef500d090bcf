using System.Runtime.CompilerServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Products with tiles in code that is assembled at run time, for processors with AVX-512, VNNI and BF16: .NET has no intrinsics for
/// vdpbf16ps and for vpdpbusd on 512 bits, which double the rate.
/// </summary>
internal static unsafe class AssembledKernels
{
    const int MostFloatRows = 24;

    // The activations of a row block for a range of columns lie in the first-level cache together with a stretch of weights.
    const int RowBlockBytes = 24 << 10;

    // The weights of a group of tiles, for a range of columns, stay in the second-level cache while the row blocks pass.
    const int TileGroupBytes = 384 << 10;

    static readonly Lock Building = new();
    static readonly nint[,] Integers = new nint[(int)TileFormat.Int8Affine + 1, IntegerKernel.MostRows + 1];
    static readonly nint[,,] Floats = new nint[2, MostFloatRows + 1, 5];

    /// <summary>Whether this machine runs them.</summary>
    public static bool IsSupported { get; } = ProcessorFeatures.OfThisMachine().Suffice;

    /// <summary>The products.</summary>
    public static TileProducts Products { get; } = new(ActivationForm.BF16, MatMul, FloatProduct) { Prepare = Prepare, Pairs = PairProduct };

    // The kernels for one row and for many; those for other numbers of rows take a millisecond when they are first needed. Under the JIT the
    // very first kernel takes some 30 ms, most of it to compile Iced; compiled ahead of time, 1 ms.
    static void Prepare(TileFormat format)
    {
        RowBlocks blocks = Blocks(format, 512);
        foreach (int rows in new[] { 1, blocks.First(1), blocks.Largest, blocks.Largest - 1 })
        {
            for (int tiles = SideBySide(format, rows); tiles > 0; tiles--)
            {
                _ = Kernel(format, rows, tiles);
            }
        }
    }

    /// <inheritdoc cref="TileMatMulKernel"/>
    static void MatMul(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        TileFormat format = weight.Format;
        var product = format switch
        {
            TileFormat.F32 => new Shape { Steps = weight.Columns, StepBytes = 64, StepX = 4 },
            TileFormat.BF16 => new Shape { Steps = (weight.Columns + 1) / 2, StepBytes = 64, StepX = 4 },
            TileFormat.Int8 => new Shape { Steps = weight.Columns / 32, StepBytes = 544, StepX = sizeof(ActivationBlock) },
            TileFormat.Int4 => new Shape { Steps = weight.Columns / 32, StepBytes = 288, StepX = sizeof(ActivationBlock) },
            TileFormat.Int8Affine => new Shape { Steps = weight.Columns / 32, StepBytes = 640, StepX = sizeof(ActivationBlock) },
            TileFormat.Int4K => new Shape { Steps = weight.Columns / 256, StepBytes = 2368, StepX = 8 * sizeof(ActivationBlock) },
            _ => new Shape { Steps = weight.Columns / 256, StepBytes = 3392, StepX = 8 * sizeof(ActivationBlock) },
        } with
        {
            Format = format,
            Weight = weight.Tile(firstTile),
            TileBytes = weight.TileBytes,
            Tiles = endTile - firstTile,
            X = (byte*)x.Address,
            XStride = x.Stride,
            Rows = rows,
            Y = (byte*)(y + (firstTile * 16L)),
            YStride = yStride * 4,
            Add = add,
        };
        Multiply(product);
    }

    /// <inheritdoc cref="FloatProductKernel"/>
    static void FloatProduct(float* w, long wStride, long tileStride, int tiles, float* x, long xStride, int rows, int length, float* y, long yStride, bool add) =>
        Multiply(Strided(TileFormat.F32, sizeof(float), w, wStride, tileStride, tiles, x, xStride, rows, length, y, yStride, add));

    /// <inheritdoc cref="PairProductKernel"/>
    static void PairProduct(ushort* w, long wStride, long tileStride, int tiles, ushort* x, long xStride, int rows, int pairs, float* y, long yStride, bool add) =>
        Multiply(Strided(TileFormat.BF16, sizeof(ushort), w, wStride, tileStride, tiles, x, xStride, rows, pairs, y, yStride, add));

    // Strides of w and x in numbers of so many bytes; a step of x, a float or a pair, has 4.
    static Shape Strided(
        TileFormat format, int bytes, void* w, long wStride, long tileStride, int tiles, void* x, long xStride, int rows, int steps, float* y, long yStride, bool add) => new()
        {
            Format = format,
            Weight = (byte*)w,
            StepBytes = wStride * bytes,
            TileBytes = tileStride * bytes,
            Tiles = tiles,
            X = (byte*)x,
            StepX = 4,
            XStride = xStride * bytes,
            Rows = rows,
            Steps = steps,
            Y = (byte*)y,
            YStride = yStride * 4,
            Add = add,
        };

    // All strides in bytes. A step is a column, a pair of columns, or a block, see KernelCall.
    readonly struct Shape
    {
        public TileFormat Format { get; init; }

        public byte* Weight { get; init; }

        public long StepBytes { get; init; }

        public long TileBytes { get; init; }

        public int Tiles { get; init; }

        public byte* X { get; init; }

        public int StepX { get; init; }

        public long XStride { get; init; }

        public int Rows { get; init; }

        public int Steps { get; init; }

        public byte* Y { get; init; }

        public long YStride { get; init; }

        public bool Add { get; init; }
    }

    static void Multiply(in Shape p)
    {
        RowBlocks blocks = Blocks(p.Format, p.Rows);
        if (blocks.Count == 1)
        {
            Block(p, 0, p.Tiles, 0, p.Steps, 0, p.Rows);
            return;
        }

        // In parts of the columns, at least four tiles stay in the cache together; in shorter ones, the activations of a block of rows.
        long stepBytes = p.Format.IsInteger() ? p.StepBytes : 64;
        int inCache = StepsTogether(p.Steps, 4 * stepBytes, TileGroupBytes), stepsTogether = StepsTogether(inCache, p.StepX * blocks.Largest, RowBlockBytes);
        int tilesTogether = (int)Math.Max(4, TileGroupBytes / (inCache * stepBytes) / 4 * 4);
        for (int part = 0; part < p.Steps; part += inCache)
        {
            int endPart = Math.Min(p.Steps, part + inCache);
            for (int tile = 0; tile < p.Tiles; tile += tilesTogether)
            {
                int endTile = Math.Min(p.Tiles, tile + tilesTogether);
                Block(p, tile, endTile, part, endPart, 0, blocks.First(1));
                for (int step = part; step < endPart; step += stepsTogether)
                {
                    for (int block = 1; block < blocks.Count; block++)
                    {
                        Block(p, tile, endTile, step, Math.Min(endPart, step + stepsTogether), blocks.First(block), blocks.First(block + 1));
                    }
                }
            }
        }
    }

    [SkipLocalsInit]
    static void Block(in Shape p, int tile, int endTile, int step, int endStep, int row, int endRow)
    {
        const int ScratchBytes = 1024;
        byte* scratch = stackalloc byte[ScratchBytes + 63];
        int rows = endRow - row;
        while (tile < endTile)
        {
            int beside = Math.Min(SideBySide(p.Format, rows), endTile - tile);
            int groups = (endTile - tile) / beside;
            var call = new KernelCall
            {
                Weight = (nint)(p.Weight + (tile * p.TileBytes) + (step * p.StepBytes)),
                TileStride = p.TileBytes,
                GroupStride = p.TileBytes * beside,
                Groups = groups,
                X = (nint)(p.X + (row * p.XStride) + ((long)step * p.StepX)),
                XStride = p.XStride,
                Y = (nint)(p.Y + (tile * 64L) + (row * p.YStride)),
                YStride = p.YStride,
                Steps = endStep - step,
                StepStride = p.StepBytes,
                Add = p.Add || step > 0 ? 1 : 0,
                Scratch = ((nint)scratch + 63) & ~63,
            };
            Kernel(p.Format, rows, beside)(&call);
            tile += groups * beside;
        }
    }

    static RowBlocks Blocks(TileFormat format, int rows) => format.IsInteger()
        ? new(rows, IntegerKernel.RowsFromMemory(format), IntegerKernel.MostRows)
        : new(rows, FloatKernel.RowsFromMemory, MostFloatRows);

    static int SideBySide(TileFormat format, int rows) => format.IsInteger() ? 1 : rows <= 6 ? 4 : rows <= 12 ? 2 : 1;

    // Whole steps in equal parts of no more bytes than these, and of an even number: Int8 and Int4 keep the scales of two blocks together.
    static int StepsTogether(int steps, long bytesOfAStep, long most)
    {
        int parts = (int)(((steps * bytesOfAStep) + most - 1) / most);
        return parts <= 1 ? steps : (((steps + parts - 1) / parts) + 3) / 4 * 4;
    }

    static delegate* unmanaged<KernelCall*, void> Kernel(TileFormat format, int rows, int tiles)
    {
        ref nint kernel = ref format.IsInteger() ? ref Integers[(int)format, rows] : ref Floats[(int)format, rows, tiles];
        nint built = Volatile.Read(ref kernel);
        return (delegate* unmanaged<KernelCall*, void>)(built != 0 ? built : Build(ref kernel, format, rows, tiles));
    }

    static nint Build(ref nint kernel, TileFormat format, int rows, int tiles)
    {
        lock (Building)
        {
            if (kernel == 0)
            {
                TileKernel writer = format.IsInteger() ? new IntegerKernel(format, rows) : new FloatKernel(format == TileFormat.BF16, rows, tiles);
                Volatile.Write(ref kernel, writer.Build());
            }

            return kernel;
        }
    }
}
