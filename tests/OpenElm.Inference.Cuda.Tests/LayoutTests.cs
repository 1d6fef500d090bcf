using System.Buffers.Binary;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Inference.Tests;
using OpenElm.Quantization;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>What is decided before a GPU is asked: places of weights, shared memory, and that the kernels compile.</summary>
public sealed class LayoutTests
{
    public static TheoryData<int, CudaPrecision> Sizes
    {
        get
        {
            var data = new TheoryData<int, CudaPrecision>();
            for (int i = 0; i < Shipped.Length; i++)
            {
                data.Add(i, CudaPrecision.Bf16);
                data.Add(i, CudaPrecision.Fp32);
            }

            return data;
        }
    }

    static OpenElmConfig[] Shipped { get; } = [.. NamedConfigs.Names.Where(name => name.StartsWith("openelm-", StringComparison.Ordinal)).Select(NamedConfigs.Get)];

    [Theory, MemberData(nameof(Sizes))]
    public void Every_weight_has_its_place_and_none_overlap(int size, CudaPrecision precision)
    {
        OpenElmConfig config = Shipped[size];
        var plan = WeightPlan.Of(config, precision, embeddingApart: false);
        Assert.Equal(TensorShapes.Of(config).Sum(shape => shape.Elements), plan.Places.Values.Sum(place => place.Elements)); // tied: the head is the embedding
        WeightPlace[] places = [.. plan.Places.Values.OrderBy(place => place.Offset)];
        Assert.All(places.Zip(places.Skip(1)), pair => Assert.InRange(pair.Second.Offset - pair.First.Offset - pair.First.Bytes, 0, 255));
        Assert.All(places, place => Assert.Equal(0, place.Offset % 256));
        Assert.Equal(plan.Bytes, (places[^1].Offset + places[^1].Bytes + 255) / 256 * 256);
        long matrices = TensorShapes.Of(config).Where(shape => shape.Shape.Length == 2).Sum(shape => shape.Elements);
        Assert.Equal(matrices * (precision == CudaPrecision.Bf16 ? 2 : 4), plan.TokenBytes);
    }

    [Fact]
    public void An_embedding_that_an_adapter_changes_is_kept_beside_the_head()
    {
        var plan = WeightPlan.Of(TestModels.Blocked, CudaPrecision.Bf16, embeddingApart: true);
        Assert.Equal(plan.Places[WeightPlan.Head].Elements, plan.Places[TensorNames.Embedding].Elements);
        Assert.Equal(plan.TokenBytes, WeightPlan.Of(TestModels.Blocked, CudaPrecision.Bf16, embeddingApart: false).TokenBytes); // only one is read whole
    }

    [Theory, MemberData(nameof(Sizes))]
    public void A_step_fits_a_multiprocessor_and_keeps_enough_on_its_way(int size, CudaPrecision precision)
    {
        foreach (StepVariant variant in StepVariant.All)
        {
            var layout = StepLayout.Of(Shipped[size], precision, 132, variant, out string? reason);
            Assert.Null(reason);
            Assert.NotNull(layout);
            Assert.InRange(layout.SharedBytes, 0, 227 * 1024);
            Assert.Equal(0, layout.PieceColumns % 256); // 32 of each warp
            Assert.InRange(layout.RingBytes, 96 << 10, 227 << 10); // microseconds' worth of weights
            Assert.Equal(0, layout.RingBytes % 128);
        }
    }

    [Theory, MemberData(nameof(Sizes))]
    public void Every_row_is_dealt_once_and_all_blocks_read_about_as_much(int size, CudaPrecision precision)
    {
        OpenElmConfig config = Shipped[size];
        int elementBytes = precision == CudaPrecision.Bf16 ? 2 : 4, perLayer = 4;
        StepLayout layout = StepLayout.Of(config, precision, 132, StepVariant.All[0], out _)!;
        var matrix = new DeviceMatrix(1 << 20, PackedFormat.Plain, 0);
        DeviceLayer[] layers = [.. config.Layers.Select(shape => new DeviceLayer(shape, 0, 1, matrix, 0, 0, matrix, 1, matrix, matrix))];
        (StepWork[] work, StepBox[] boxes) = StepWork.Deal(config, layers, 1, matrix, elementBytes, layout, 0, new StepWords[layers.Length], 0);
        Assert.Equal(layout.Blocks * ((perLayer * layers.Length) + 1), work.Length);
        Assert.Equal(layout.Maps, boxes.Length);
        StepWork[][] blocks = [.. work.Chunk((perLayer * layers.Length) + 1)];
        for (int at = 0; at < blocks[0].Length; at++)
        {
            LayerShape shape = config.Layers[Math.Min(at / perLayer, layers.Length - 1)];
            int rows = at == blocks[0].Length - 1 ? config.VocabSize : (at % perLayer) switch
            {
                0 => (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim,
                2 => 2 * shape.FfnDim,
                _ => config.ModelDim,
            };
            Assert.Equal(rows, blocks.Sum(block => block[at].Rows));
            int next = 0;
            foreach (StepWork own in blocks.Select(block => block[at]))
            {
                Assert.Equal(next, own.Begin);
                Assert.Equal(matrix.Address + ((nint)next * own.RowBytes), own.First);
                int each = own.Second == 0 ? 1 : 2;
                Assert.Equal(own.TileRows, each * boxes[own.Maps & 0xffff].BoxResults);
                Assert.Equal(((own.Rows - 1) % own.TileRows) + 1, each * boxes[own.Maps >> 16].BoxResults);
                Assert.All((StepBox[])[boxes[own.Maps & 0xffff], boxes[own.Maps >> 16]], box => Assert.Equal((own.First - (own.Begin * own.RowBytes), own.RowBytes, own.Second, own.Pitch), (box.Matrix, box.RowBytes, box.Second, box.Bytes)));
                next += at % perLayer == 2 && at < perLayer * layers.Length ? own.Rows / 2 : own.Rows;
            }
        }

        long[] bytes = [.. blocks.Select(block => block.Sum(own => (long)own.Rows * own.RowBytes))];
        Assert.InRange(bytes.Max() / bytes.Average(), 1, 1.01);
    }

    // Blocks in the order of a row, as device.cu reads them; a scale of Q4_K is a product that a half rounds.
    [Theory, InlineData(DType.Q8_0, 0), InlineData(DType.Q4_0, 0), InlineData(DType.Q4_1, 0), InlineData(DType.Q4_K, 2e-3)]
    public void Packed_rows_hold_the_numbers_of_the_blocks(DType dtype, double allowance)
    {
        const int Width = 1280, Columns = 512;
        var random = new Random(2);
        float[] row = [.. Enumerable.Range(0, Width).Select(_ => random.NextSingle() - 0.5f)], expected = new float[Width];
        byte[] blocks = new byte[Width / dtype.BlockElements() * dtype.BlockBytes()];
        BlockFormats.Quantize(dtype, row, blocks);
        BlockFormats.Dequantize(dtype, blocks, expected);
        PackedFormat format = dtype == DType.Q8_0 ? PackedFormat.Bytes : PackedFormat.Nibbles;
        byte[] packed = new byte[PackedRows.Bytes(format, Width)];
        PackedRows.Pack(dtype, blocks, Columns, packed);
        float Half(int at) => (float)BinaryPrimitives.ReadHalfLittleEndian(packed.AsSpan(at));
        for (int i = 0; i < Width; i++)
        {
            int first = i / Columns * Columns, count = Math.Min(Columns, Width - first), start = (int)PackedRows.Bytes(format, first), own = i - first, block = (own / 32 % 8 * (count / 256)) + (own / 256);
            float actual = format == PackedFormat.Bytes ? Half(start + count + (2 * block)) * (sbyte)packed[start + (32 * block) + (own % 32)]
                : (Half(start + (count / 2) + (4 * block)) * ((packed[start + (16 * block) + (own % 16)] >> (own % 32 < 16 ? 0 : 4)) & 15)) - Half(start + (count / 2) + (4 * block) + 2);
            Assert.InRange(Math.Abs(actual - expected[i]), 0, allowance);
        }
    }

    [Fact]
    public void What_a_step_cannot_do_is_said()
    {
        Assert.Null(StepLayout.Of(TestModels.Layerwise, CudaPrecision.Bf16, 132, StepVariant.All[0], out string? reason));
        Assert.Equal("a head of 18 is no power of two from 8 to 256", reason);
        Assert.Null(StepLayout.Of(TestModels.Blocked with { ModelDim = 100 }, CudaPrecision.Bf16, 132, StepVariant.All[0], out reason));
        Assert.Equal("the widths are no multiples of 8", reason);
    }

    [Theory, InlineData("pass", CudaPrecision.Bf16), InlineData("pass", CudaPrecision.Fp32), InlineData("step", CudaPrecision.Bf16), InlineData("step", CudaPrecision.Fp32), InlineData("draw", CudaPrecision.Bf16)]
    public void Kernels_compile(string name, CudaPrecision precision)
    {
        try
        {
            _ = KernelCompiler.Compile("probe", "extern \"C\" __global__ void probe() { }", 90, new Dictionary<string, string>());
        }
        catch (CudaException e)
        {
            Assert.Skip($"no CUDA compiler here: {e.Message}");
        }

        foreach (OpenElmConfig config in Shipped.Append(TestModels.Blocked))
        {
            var step = StepLayout.Of(config, precision, 132, StepVariant.All[^2], out _);
            Assert.NotEmpty(DecodeKernels.Compile(name, 90, config, precision, step));
            Assert.NotEmpty(DecodeKernels.Compile(name, 90, config, precision, step, layerNorm: true));
        }

        Assert.NotEmpty(DecodeKernels.Compile(name, 90, TestModels.Blocked, precision, StepLayout.Of(TestModels.Blocked, precision, 132, StepVariant.All[^1], out _), formats: new HashSet<PackedFormat>(Enum.GetValues<PackedFormat>()), cacheIsBytes: true, profile: true));
    }

    [Fact]
    public void Without_a_usable_gpu_there_is_a_reason()
    {
        CudaInferenceDevice? device = CudaInferenceDevice.TryOpen(CudaPrecision.Bf16, out string? reason);
        Assert.Equal(device is null, reason is { Length: > 0 });
    }
}
