using OpenElm.Checkpoints;
using OpenElm.Quantization;
using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Matrices;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Tests.Matrices;

public sealed class BlockedMatrixTests : IDisposable
{
    const int Rows = 37, Columns = 512;

    readonly DisposeScope _scope = NewDisposeScope();

    public static TheoryData<DType, KernelChoice> Formats =>
        [.. from format in new[] { DType.Q4_0, DType.Q4_1, DType.Q4_K, DType.Q5_0, DType.Q5_1, DType.Q5_K, DType.Q6_K, DType.Q8_0 } from kernels in new[] { KernelChoice.Fused, KernelChoice.Torch } select (format, kernels)];

    public void Dispose() => _scope.Dispose();

    // Any bits are a block, so random ones reach every level, scale and minimum. The reference reads one row after the other without libtorch.
    [Theory, MemberData(nameof(Formats))]
    public void Numbers_are_those_of_the_reference_bit_for_bit(DType format, KernelChoice kernels)
    {
        byte[] blocks = RandomBlocks(format, Rows * Columns);
        float[] expected = new float[Rows * Columns];
        BlockFormats.Dequantize(format, blocks, expected);
        using BlockedMatrix matrix = Load(format, blocks, new ModuleOptions { Kernels = kernels }, out NumbersBuffer buffer);
        using (buffer)
        {
            Assert.Equal(Bits(expected), Bits(matrix.Numbers(ScalarType.Float32)));
            Assert.Equal(Bits(expected[(5 * Columns)..(30 * Columns)]), Bits(matrix.Floats(5, 25)));
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Numbers_of_bfloat16_are_rounded_once(DType format, KernelChoice kernels)
    {
        byte[] blocks = RandomBlocks(format, Rows * Columns);
        using BlockedMatrix matrix = Load(format, blocks, new ModuleOptions { Kernels = kernels, Precision = Precision.Bf16 }, out NumbersBuffer buffer);
        using (buffer)
        {
            float[] expected = new float[Rows * Columns];
            BlockFormats.Dequantize(format, blocks, expected);
            BFloat16Rounding.Round(expected);
            Assert.Equal(Bits(expected), Bits(matrix.Numbers(ScalarType.BFloat16).to_type(ScalarType.Float32)));
        }
    }

    [Fact]
    public void The_product_and_its_gradient_are_those_of_the_numbers()
    {
        byte[] blocks = RandomBlocks(DType.Q4_K, Rows * Columns);
        using BlockedMatrix matrix = Load(DType.Q4_K, blocks, new ModuleOptions(), out NumbersBuffer buffer);
        using (buffer)
        {
            Tensor w = matrix.Numbers(ScalarType.Float32).clone(), x = randn(2, 5, Columns).requires_grad_(true), same = x.detach().clone().requires_grad_(true), dy = randn(2, 5, Rows);
            Tensor y = matrix.Multiply(x);
            buffer.Take(Rows, Columns).fill_(float.NaN); // what another matrix does with the buffer
            y.backward([dy]);
            Tensor expected = nn.functional.linear(same, w);
            expected.backward([dy]);
            TensorAssert.CloseNorm(expected, y, 1e-6);
            TensorAssert.CloseNorm(same.grad!, x.grad!, 1e-6);
        }
    }

    static unsafe BlockedMatrix Load(DType format, byte[] blocks, ModuleOptions options, out NumbersBuffer buffer)
    {
        buffer = new NumbersBuffer(options.ProductType, CPU);
        var matrix = new BlockedMatrix(format, Rows, Columns, options, buffer);
        fixed (byte* address = blocks)
        {
            matrix.Load(StoredWeight.Of("w", new TensorView("w", format, [Rows, Columns], (nint)address, blocks.Length)));
        }

        return matrix;
    }

    static byte[] RandomBlocks(DType format, int elements)
    {
        byte[] blocks = new byte[elements / format.BlockElements() * format.BlockBytes()];
        var random = new Random(3);
        random.NextBytes(blocks);
        int[] halves = format switch { DType.Q4_0 or DType.Q5_0 or DType.Q8_0 => [0], DType.Q6_K => [208], _ => [0, 2] };
        for (int block = 0; block < blocks.Length; block += format.BlockBytes())
        {
            foreach (int at in halves)
            {
                BitConverter.TryWriteBytes(blocks.AsSpan(block + at), (Half)(random.NextSingle() - 0.5f));
            }
        }

        return blocks;
    }

    static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];

    static int[] Bits(Tensor tensor) => Bits(tensor.contiguous().data<float>().ToArray());
}
