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
    const int RowBlockBytes = 16 << 10;

    // The weights of a group of tiles for a range of columns stay in the second-level cache while the row blocks pass.
    const int TileGroupBytes = 384 << 10;

    static readonly Lock Building = new();
    static readonly nint[,] Integers = new nint[(int)TileFormat.Int8Affine + 1, IntegerKernel.MostRows + 1];
    static readonly nint[,,] Floats = new nint[2, MostFloatRows + 1, 5];

    /// <summary>Whether this machine runs them.</summary>
    public static bool IsSupported { get; } = ProcessorFeatures.OfThisMachine().Suffice;

    /// <summary>The products.</summary>
    public static TileProducts Products { get; } = new(ActivationForm.BF16, MatMul, FloatProduct);

    /// <inheritdoc cref="TileMatMulKernel"/>
    static void MatMul(in TileMatrix weight, int firstTile, int endTile, in ActivationRows x, int rows, float* y, long yStride, bool add)
    {
        TileFormat format = weight.Format;
        if (!format.IsInteger())
        {
            bool pairs = format == TileFormat.BF16;
            FloatRows(
                pairs, weight.Tile(firstTile), 64, weight.TileBytes, endTile - firstTile, (byte*)x.Address, x.Stride, rows,
                pairs ? (weight.Columns + 1) / 2 : weight.Columns, y + (firstTile * 16L), yStride * 4, add);
            return;
        }

        (int stepColumns, int stepBytes) = format switch
        {
            TileFormat.Int8 => (32, 512),
            TileFormat.Int4 => (32, 256),
            TileFormat.Int8Affine => (32, 640),
            TileFormat.Int4K => (256, 2368),
            _ => (256, 3392),
        };
        long scaleBytes = format is TileFormat.Int8 or TileFormat.Int4 ? TileFormats.ScaleBytes(weight.Columns) : 0;
        int steps = weight.Columns / stepColumns, stepX = stepColumns / 32 * sizeof(ActivationBlock);
        var blocks = new RowBlocks(rows, IntegerKernel.MostRows);
        int stepsTogether = rows <= 8 ? steps : StepsTogether(steps, stepX * blocks.Largest);
        int tilesTogether = TilesTogether(rows, blocks, (long)stepsTogether * stepBytes);
        byte* scratch = stackalloc byte[(int)Math.Max(1088, scaleBytes) + 64];
        scratch = (byte*)(((nint)scratch + 63) & ~63);
        for (int tile = firstTile; tile < endTile; tile += tilesTogether)
        {
            for (int step = 0; step < steps; step += stepsTogether)
            {
                for (int block = 0; block < blocks.Count; block++)
                {
                    int first = blocks.First(block), count = blocks.First(block + 1) - first;
                    byte* at = weight.Tile(tile);
                    var call = new KernelCall
                    {
                        Weight = (nint)(at + scaleBytes + ((long)step * stepBytes)),
                        Scales = (nint)(at + (step * 32L)),
                        GroupStride = weight.TileBytes,
                        Groups = Math.Min(tilesTogether, endTile - tile),
                        X = (nint)(x.Row(first) + ((long)step * stepX)),
                        XStride = x.Stride,
                        Y = (nint)(y + (first * yStride) + (tile * 16L)),
                        YStride = yStride * 4,
                        Steps = Math.Min(stepsTogether, steps - step),
                        Add = add || step > 0 ? 1 : 0,
                        Scratch = (nint)scratch,
                    };
                    Integer(format, count)(&call);
                }
            }
        }
    }

    /// <inheritdoc cref="FloatProductKernel"/>
    static void FloatProduct(float* w, long wStride, long tileStride, int tiles, float* x, long xStride, int rows, int length, float* y, long yStride, bool add) =>
        FloatRows(pairs: false, (byte*)w, wStride * 4, tileStride * 4, tiles, (byte*)x, xStride * 4, rows, length, y, yStride * 4, add);

    // Strides in bytes; length in steps.
    static void FloatRows(
        bool pairs, byte* w, long wStride, long tileStride, int tiles, byte* x, long xStride, int rows, int length, float* y, long yStride, bool add)
    {
        var blocks = new RowBlocks(rows, MostFloatRows);
        int stepsTogether = StepsTogether(length, 4 * blocks.Largest);
        int sideBySide = blocks.Largest <= 6 ? 4 : blocks.Largest <= 12 ? 2 : 1;
        int tilesTogether = TilesTogether(rows, blocks, stepsTogether * 64L) / 4 * 4;
        for (int tile = 0; tile < tiles; tile += tilesTogether)
        {
            for (int step = 0; step < length; step += stepsTogether)
            {
                for (int block = 0; block < blocks.Count; block++)
                {
                    int first = blocks.First(block), count = blocks.First(block + 1) - first;
                    int left = Math.Min(tilesTogether, tiles - tile);
                    for (int at = tile; left > 0;)
                    {
                        int beside = Math.Min(sideBySide, left), groups = left / beside;
                        var call = new KernelCall
                        {
                            Weight = (nint)(w + (at * tileStride) + (step * wStride)),
                            TileStride = tileStride,
                            GroupStride = tileStride * beside,
                            Groups = groups,
                            X = (nint)(x + (first * xStride) + (step * 4L)),
                            XStride = xStride,
                            Y = (nint)((byte*)(y + (at * 16L)) + (first * yStride)),
                            YStride = yStride,
                            Steps = Math.Min(stepsTogether, length - step),
                            StepStride = wStride,
                            Add = add || step > 0 ? 1 : 0,
                        };
                        Float(pairs, count, beside)(&call);
                        left -= groups * beside;
                        at += groups * beside;
                    }
                }
            }
        }
    }

    static int StepsTogether(int steps, int bytesOfAStep)
    {
        int parts = (int)(((long)steps * bytesOfAStep + RowBlockBytes - 1) / RowBlockBytes);
        return parts <= 1 ? steps : ((steps + parts - 1) / parts + 3) / 4 * 4;
    }

    static int TilesTogether(int rows, RowBlocks blocks, long bytesOfATile) =>
        blocks.Count == 1 ? int.MaxValue / 2 : (int)Math.Max(4, TileGroupBytes / bytesOfATile);

    static delegate* unmanaged<KernelCall*, void> Integer(TileFormat format, int rows)
    {
        ref nint kernel = ref Integers[(int)format, rows];
        return (delegate* unmanaged<KernelCall*, void>)(Volatile.Read(ref kernel) is not 0 and var built ? built : Build(ref kernel, new IntegerKernel(format, rows)));
    }

    static delegate* unmanaged<KernelCall*, void> Float(bool pairs, int rows, int tiles)
    {
        ref nint kernel = ref Floats[pairs ? 1 : 0, rows, tiles];
        return (delegate* unmanaged<KernelCall*, void>)(Volatile.Read(ref kernel) is not 0 and var built ? built : Build(ref kernel, new FloatKernel(pairs, rows, tiles)));
    }

    static nint Build(ref nint kernel, TileKernel writer)
    {
        lock (Building)
        {
            if (kernel == 0)
            {
                Volatile.Write(ref kernel, writer.Build());
            }

            return kernel;
        }
    }
}
