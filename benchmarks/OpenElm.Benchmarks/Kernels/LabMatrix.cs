using System.Runtime.InteropServices;
using OpenElm.Inference.Tiles;

namespace OpenElm.Benchmarks.Kernels;

/// <summary>Matrices of one shape and format, filled with sane random numbers, one behind the other in huge pages: as many as the caches cannot hold.</summary>
internal sealed unsafe partial class LabMatrix
{
    const int HugePage = 2 << 20, MadviseHugePage = 14;

    public LabMatrix(TileFormat format, int rows, int columns, long leastBytes)
    {
        var shape = new TileMatrix(format, rows, columns, 0);
        Copies = new TileMatrix[Math.Max(1, (leastBytes + shape.Bytes - 1) / shape.Bytes)];
        Bytes = Copies.Length * shape.Bytes;
        Memory = Allocate(Bytes);
        for (int i = 0; i < Copies.Length; i++)
        {
            Copies[i] = shape with { Address = Memory + (nint)(i * shape.Bytes) };
        }

        Fill(Copies[0]);
        for (int i = 1; i < Copies.Length; i++)
        {
            Buffer.MemoryCopy((void*)Copies[0].Address, (void*)Copies[i].Address, shape.Bytes, shape.Bytes);
        }
    }

    public TileMatrix[] Copies { get; }

    public long Bytes { get; }

    public nint Memory { get; }

    public void Free() => NativeMemory.AlignedFree((void*)Memory);

    public static nint Allocate(long bytes)
    {
        nuint size = (nuint)((bytes + HugePage - 1) & ~(HugePage - 1L));
        nint memory = (nint)NativeMemory.AlignedAlloc(size, HugePage);
        _ = Madvise(memory, size, MadviseHugePage);
        NativeMemory.Clear((void*)memory, size);
        return memory;
    }

    /// <summary>Random rows of activations.</summary>
    public static ActivationRows Activations(int rows, int columns, ActivationForm form, TileFormat format)
    {
        long stride = ActivationRows.StrideOf(form, columns);
        var activations = new ActivationRows(form, Allocate(stride * rows), stride);
        var random = new Random(1);
        float[] x = new float[columns];
        for (int row = 0; row < rows; row++)
        {
            for (int c = 0; c < columns; c++)
            {
                x[c] = (random.NextSingle() * 2) - 1;
            }

            fixed (float* from = x)
            {
                ActivationPacking.Convert(from, columns, form, format, activations.Row(row));
            }
        }

        return activations;
    }

    static void Fill(TileMatrix matrix)
    {
        var random = new Random(1);
        for (int tile = 0; tile < matrix.Tiles; tile++)
        {
            byte* at = matrix.Tile(tile);
            if (!matrix.Format.IsInteger())
            {
                for (long i = 0; i < matrix.TileBytes / 4; i++)
                {
                    uint bits = BitConverter.SingleToUInt32Bits((random.NextSingle() * 2) - 1);
                    ((uint*)at)[i] = matrix.Format == TileFormat.F32 ? bits : (bits & 0xFFFF0000) | (bits >> 16);
                }

                continue;
            }

            random.NextBytes(new Span<byte>(at, (int)matrix.TileBytes));
            switch (matrix.Format)
            {
                case TileFormat.Int8 or TileFormat.Int4:
                    for (int block = 0; block < matrix.Columns / 32; block++)
                    {
                        Halves(at + matrix.Format.ScalesAt(block), 16);
                    }

                    break;
                case TileFormat.Int8Affine:
                    for (int block = 0; block < matrix.Columns / 32; block++)
                    {
                        for (int i = 0; i < 32; i++)
                        {
                            ((float*)(at + (block * 640)))[i] = random.NextSingle();
                        }
                    }

                    break;
                default:
                    for (int block = 0; block < matrix.Columns / 256; block++)
                    {
                        Halves(at + (block * (matrix.Format == TileFormat.Int4K ? 2368 : 3392)), 32);
                    }

                    break;
            }
        }

        static void Halves(byte* at, int count)
        {
            for (int i = 0; i < count; i++)
            {
                ((Half*)at)[i] = (Half)0.01f;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(nint address, nuint length, int advice);
}
