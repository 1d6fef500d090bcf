using System.Runtime.InteropServices;
using OpenElm.Checkpoints;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>Random matrices of every stored type, packed into tiles, and random activations in every form. Blocks hold random bits with sane scales.</summary>
internal sealed unsafe class RandomTiles : IDisposable
{
    readonly List<nint> _memory = [];
    readonly Random _random;

    public RandomTiles(int seed) => _random = new Random(seed);

    public static IReadOnlyList<DType> StoredTypes { get; } =
    [
        DType.F32, DType.F16, DType.F64, DType.BF16, DType.Q8_0, DType.Q4_0, DType.Q4_K, DType.Q6_K,
        DType.Q4_1, DType.Q5_0, DType.Q5_1, DType.Q5_K, DType.Affine4x32, DType.Affine4x64, DType.Affine8x32, DType.Affine8x64,
    ];

    /// <summary>A stored matrix [rows, columns] of random elements; of a block format either with random bits or with one byte throughout, scales aside.</summary>
    public TensorView Stored(DType dtype, int rows, int columns, byte? every = null)
    {
        long bytes = dtype.ByteCount([rows, columns]);
        nint memory = Allocate(bytes);
        var span = new Span<byte>((void*)memory, (int)bytes);
        if (dtype.IsBlocked())
        {
            _random.NextBytes(span);
            if (every is { } value)
            {
                span.Fill(value);
            }

            for (int at = 0; at < bytes; at += dtype.BlockBytes())
            {
                Span<byte> block = span.Slice(at, dtype.BlockBytes());
                switch (dtype)
                {
                    case DType.Q4_0 or DType.Q5_0 or DType.Q8_0:
                        SetHalf(block);
                        break;
                    case DType.Q4_1 or DType.Q5_1 or DType.Q4_K or DType.Q5_K:
                        SetHalf(block);
                        SetHalf(block[2..]);
                        break;
                    case DType.Q6_K:
                        SetHalf(block[208..]);
                        break;
                    default:
                        MemoryMarshal.Write(block, _random.NextSingle() * 0.01f);
                        MemoryMarshal.Write(block[4..], _random.NextSingle() - 0.5f);
                        break;
                }
            }
        }
        else
        {
            for (int i = 0; i < rows * columns; i++)
            {
                float value = (_random.NextSingle() * 2) - 1;
                switch (dtype)
                {
                    case DType.F32: ((float*)memory)[i] = value; break;
                    case DType.F64: ((double*)memory)[i] = value; break;
                    case DType.F16: ((Half*)memory)[i] = (Half)value; break;
                    default: ((ushort*)memory)[i] = FloatEncoding.ToBFloat16(value); break;
                }
            }
        }

        return new TensorView("weight", dtype, [rows, columns], memory, bytes);

        void SetHalf(Span<byte> at) => MemoryMarshal.Write(at, (Half)((_random.NextSingle() - 0.3f) * 0.01f));
    }

    /// <summary>The stored matrix in tiles.</summary>
    public TileMatrix Pack(TensorView stored)
    {
        (int rows, int columns) = ((int)stored.Shape[0], (int)stored.Shape[1]);
        var matrix = new TileMatrix(TileFormats.Of(stored.DType), rows, columns, 0);
        matrix = matrix with { Address = Allocate(matrix.Bytes) };
        new Span<byte>((void*)matrix.Address, (int)matrix.Bytes).Fill(0xEE); // packing must write every byte that is read
        for (int tile = 0; tile < matrix.Tiles; tile++)
        {
            TilePacking.Pack(stored, 0, matrix, tile);
        }

        return matrix;
    }

    /// <summary>[rows, columns] of random floats with a few large ones, as activations are.</summary>
    public float[] Floats(int rows, int columns) =>
        [.. Enumerable.Range(0, rows * columns).Select(i => ((_random.NextSingle() * 2) - 1) * (i % 97 == 5 ? 30 : 1))];

    /// <summary>Activations in the form that a kernel wants.</summary>
    public ActivationRows Activations(float[] x, int rows, int columns, ActivationForm form, TileFormat format)
    {
        long stride = ActivationRows.StrideOf(form, columns);
        var activations = new ActivationRows(form, Allocate(stride * rows), stride);
        fixed (float* from = x)
        {
            for (int row = 0; row < rows; row++)
            {
                ActivationPacking.Convert(from + (row * columns), columns, form, format, activations.Row(row));
            }
        }

        return activations;
    }

    public nint Allocate(long bytes)
    {
        nint memory = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(64, bytes), 64);
        _memory.Add(memory);
        return memory;
    }

    public void Dispose() => _memory.ForEach(memory => NativeMemory.AlignedFree((void*)memory));
}
