using OpenElm.Checkpoints;
using OpenElm.Quantization;

namespace OpenElm.Tests.Quantization;

/// <summary>Against llama.cpp: blocks that its quantiser wrote and the numbers it reads from them (made by make_llama_blocks.py).</summary>
public sealed class LlamaBlocksTests : IDisposable
{
    const int Columns = 256;

    readonly SafetensorsFile _file = SafetensorsFile.Open(Path.Combine(RepositoryFiles.Root, "tests/OpenElm.Tests/Data/quantization/llama-blocks.safetensors"));

    public static TheoryData<DType> Formats => [DType.Q4_0, DType.Q4_1, DType.Q5_0, DType.Q5_1, DType.Q8_0, DType.Q4_K, DType.Q5_K, DType.Q6_K];

    [Theory, MemberData(nameof(Formats))]
    public void Blocks_are_read_bit_for_bit_as_llama_cpp_reads_them(DType dtype)
    {
        ReadOnlySpan<float> expected = _file.Tensors[$"{dtype}.values"].Floats;
        float[] actual = Read(dtype, _file.Tensors[$"{dtype}.blocks"].Bytes);

        for (int i = 0; i < expected.Length; i++)
        {
            // Compared as numbers: +0 and −0 are one.
            Assert.True(expected[i] == actual[i], $"{dtype}[{i / Columns}, {i % Columns}] is {actual[i]:R}; llama.cpp reads {expected[i]:R}.");
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void No_row_is_quantised_worse_than_by_llama_cpp(DType dtype)
    {
        float[] source = _file.Tensors["source"].ToFloats();
        ReadOnlySpan<float> theirs = _file.Tensors[$"{dtype}.values"].Floats;
        byte[] blocks = new byte[_file.Tensors[$"{dtype}.blocks"].ByteCount];
        BlockFormats.Quantize(dtype, source, blocks);
        float[] ours = Read(dtype, blocks);

        var problems = new List<string>();
        for (int row = 0; row < source.Length / Columns; row++)
        {
            ReadOnlySpan<float> x = source.AsSpan(row * Columns, Columns);
            double our = SquaredError(x, ours.AsSpan(row * Columns, Columns)), their = SquaredError(x, theirs.Slice(row * Columns, Columns));
            if (our > their)
            {
                problems.Add($"row {row}: {our:E3}, llama.cpp {their:E3}");
            }
        }

        Assert.True(problems is [], $"{dtype}: {string.Join("; ", problems)}");
    }

    public void Dispose() => _file.Dispose();

    static float[] Read(DType dtype, ReadOnlySpan<byte> blocks)
    {
        float[] values = new float[blocks.Length / dtype.BlockBytes() * dtype.BlockElements()];
        BlockFormats.Dequantize(dtype, blocks, values);
        return values;
    }

    static double SquaredError(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double sum = 0;
        for (int i = 0; i < x.Length; i++)
        {
            sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        }

        return sum;
    }
}
