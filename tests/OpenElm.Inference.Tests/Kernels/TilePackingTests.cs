using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Tiles;
using OpenElm.Quantization;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>Tiles hold what was stored: a product with one activation at a time reads every weight back.</summary>
public sealed unsafe class TilePackingTests
{
    public static TheoryData<DType> StoredTypes => [.. RandomTiles.StoredTypes];

    [Theory, MemberData(nameof(StoredTypes))]
    public void A_tile_holds_the_stored_values(DType dtype)
    {
        const int Rows = 37, FirstRow = 5; // rows of the matrix begin in the middle of the stored ones
        int columns = dtype.IsBlocked() ? 2 * dtype.BlockElements() : 39;
        using var random = new RandomTiles((int)dtype);
        TensorView stored = random.Stored(dtype, FirstRow + Rows, columns);
        float[] values = new float[stored.Elements];
        if (dtype.IsBlocked())
        {
            BlockFormats.Dequantize(dtype, stored.Bytes, values);
        }
        else
        {
            stored.CopyTo(values);
        }

        var matrix = new TileMatrix(TileFormats.Of(dtype), Rows, columns, 0);
        matrix = matrix with { Address = random.Allocate(matrix.Bytes) };
        for (int tile = 0; tile < matrix.Tiles; tile++)
        {
            TilePacking.Pack(stored, FirstRow, matrix, tile);
        }

        float[] identity = [.. Enumerable.Range(0, columns * columns).Select(i => i / columns == i % columns ? 127f : 0f)]; // 127 is itself in 8 bits
        ActivationForm form = matrix.Format.IsInteger() ? ActivationForm.Int8 : ActivationForm.F32;
        ActivationRows x = random.Activations(identity, columns, columns, form, matrix.Format);
        int width = matrix.Tiles * TileFormats.Rows;
        float[] y = new float[columns * width];
        fixed (float* result = y)
        {
            ReferenceKernels.Products.MatMul(matrix, 0, matrix.Tiles, x, columns, result, width, add: false);
        }

        for (int c = 0; c < columns; c++)
        {
            float[] expected = new float[width]; // behind the matrix there are zeros
            for (int r = 0; r < Rows; r++)
            {
                expected[r] = values[((FirstRow + r) * columns) + c] * 127;
            }

            Close.Assert(expected, y.AsSpan(c * width, width), dtype.IsBlocked() ? 1e-3 : 0); // scale and minimum are rounded apart
        }
    }

    [Fact]
    public void Every_half_becomes_the_float_of_its_value()
    {
        const int Columns = 65536 / 16;
        using var random = new RandomTiles(1);
        nint halves = random.Allocate(65536 * 2);
        for (int bits = 0; bits < 65536; bits++)
        {
            ((ushort*)halves)[bits] = (ushort)bits;
        }

        var matrix = new TileMatrix(TileFormat.F32, 16, Columns, random.Allocate(65536 * 4));
        TilePacking.Pack(new TensorView("weight", DType.F16, [16, Columns], halves, 65536 * 2), 0, matrix, 0);
        for (int bits = 0; bits < 65536; bits++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits), actual = ((float*)matrix.Address)[(bits % Columns * 16) + (bits / Columns)];
            Assert.True(expected == actual && float.IsNegative(expected) == float.IsNegative(actual) || (float.IsNaN(expected) && float.IsNaN(actual)), $"{bits:x4}: {expected} became {actual}");
        }
    }
}
