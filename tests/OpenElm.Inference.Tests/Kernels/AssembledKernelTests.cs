using System.Globalization;
using OpenElm.Checkpoints;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Kernels.Assembled;
using OpenElm.Inference.Kernels.Reference;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>Code that is assembled at run time: the pages it lies in, and where it may run. Its results are tested with those of all sets.</summary>
public sealed unsafe class AssembledKernelTests
{
    const int LeafOne = ProcessorFeatures.SystemSavesState | ProcessorFeatures.HalfConversion;

    [Fact]
    public void Code_runs_from_pages_that_nobody_can_write()
    {
        Assert.SkipUnless(AssembledKernels.IsSupported, "This machine has no AVX-512 with VNNI and BF16.");
        byte[] code = [0x8D, 0x47, 0x02, 0xC3, .. new byte[10_000]]; // lea eax, [rdi + 2]; ret
        nint address = ExecutableMemory.Load(code);
        Assert.Equal(44, ((delegate* unmanaged<int, int>)address)(42));
        Assert.Equal(code, new ReadOnlySpan<byte>((void*)address, code.Length).ToArray());
        foreach (nint at in new[] { address, address + code.Length - 1 })
        {
            Assert.Equal("r-xp", Mapping(at));
        }
    }

    [Fact]
    public void Kernels_leave_no_page_that_is_writable_and_executable()
    {
        Assert.SkipUnless(AssembledKernels.IsSupported, "This machine has no AVX-512 with VNNI and BF16.");
        float* memory = stackalloc float[64];
        new Span<float>(memory, 64).Fill(2);
        AssembledKernels.Products.Floats(memory, 16, 16, 1, memory, 1, 1, 1, memory + 32, 16, add: false); // builds one, if no other test has
        Assert.Equal(4, memory[32]);

        // The runtime has such pages of its own where DOTNET_EnableWriteXorExecute=0.
        Assert.SkipWhen(Environment.GetEnvironmentVariable("DOTNET_EnableWriteXorExecute") == "0", "The JIT's own pages are writable and executable.");
        Assert.DoesNotContain(File.ReadLines("/proc/self/maps"), line => line.Split(' ')[1].StartsWith("rwx", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true, LeafOne, ProcessorFeatures.Avx512Foundation, ProcessorFeatures.Vnni, ProcessorFeatures.BFloat16, ProcessorFeatures.VectorState)]
    [InlineData(true, -1, -1, -1, -1, ulong.MaxValue)]
    [InlineData(false, 0, 0, 0, 0, 0ul)]
    [InlineData(false, ProcessorFeatures.HalfConversion, -1, -1, -1, ProcessorFeatures.VectorState)]
    [InlineData(false, ProcessorFeatures.SystemSavesState, -1, -1, -1, ProcessorFeatures.VectorState)]
    [InlineData(false, -1, 1 << 16, -1, -1, ProcessorFeatures.VectorState)] // AVX-512F without BW
    [InlineData(false, -1, 1 << 30, -1, -1, ProcessorFeatures.VectorState)]
    [InlineData(false, -1, -1, ~ProcessorFeatures.Vnni, -1, ProcessorFeatures.VectorState)] // Skylake
    [InlineData(false, -1, -1, -1, ~ProcessorFeatures.BFloat16, ProcessorFeatures.VectorState)] // Ice Lake
    [InlineData(false, -1, -1, -1, -1, 0x07ul)] // a system that saves no ZMM
    [InlineData(false, -1, -1, -1, -1, 0x67ul)] // … or not the upper sixteen
    public void The_set_is_there_only_where_the_processor_has_all_it_uses(bool expected, int leaf1Ecx, int leaf7Ebx, int leaf7Ecx, int leaf7SecondEax, ulong savedState) =>
        Assert.Equal(expected, new ProcessorFeatures(leaf1Ecx, leaf7Ebx, leaf7Ecx, leaf7SecondEax, savedState).Suffice);

    [Fact]
    public void The_set_is_offered_where_it_is_supported_and_is_the_first()
    {
        Assert.Equal(AssembledKernels.IsSupported, CpuKernels.Available.Any(set => set.Name == "avx512-vnni"));
        Assert.True(!AssembledKernels.IsSupported || CpuKernels.Available[0].Name == "avx512-vnni");
    }

    [Fact]
    public void The_system_agrees_with_what_was_found()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && System.Runtime.Intrinsics.X86.Avx512BW.IsSupported, "No AVX-512 here, or it is switched off.");
        string[] flags = File.ReadLines("/proc/cpuinfo").First(line => line.StartsWith("flags", StringComparison.Ordinal)).Split(' ');
        Assert.Equal(flags.Contains("avx512_vnni") && flags.Contains("avx512_bf16"), AssembledKernels.IsSupported);
    }

    [Theory]
    [InlineData(1, 4, 16, new[] { 0, 1 })]
    [InlineData(4, 4, 16, new[] { 0, 4 })]
    [InlineData(5, 4, 16, new[] { 0, 4, 5 })]
    [InlineData(20, 4, 16, new[] { 0, 4, 20 })]
    [InlineData(21, 4, 16, new[] { 0, 4, 12, 21 })]
    [InlineData(512, 6, 24, new[] { 0, 6, 29, 52, 75 })]
    public void Rows_are_split_into_a_small_block_and_even_ones(int rows, int first, int most, int[] starts)
    {
        var blocks = new RowBlocks(rows, first, most);
        for (int block = 0; block < starts.Length; block++)
        {
            Assert.Equal(starts[block], blocks.First(block));
        }

        Assert.Equal(rows, blocks.First(blocks.Count));
        int[] sizes = [.. Enumerable.Range(0, blocks.Count).Select(block => blocks.First(block + 1) - blocks.First(block))];
        Assert.Equal(blocks.Largest, sizes.Max());
        Assert.All(sizes, size => Assert.InRange(size, 1, Math.Max(first, most)));
    }

    [Fact]
    public void What_was_prepared_needs_no_more_memory()
    {
        Assert.SkipUnless(AssembledKernels.IsSupported, "This machine has no AVX-512 with VNNI and BF16.");
        foreach (TileFormat format in Enum.GetValues<TileFormat>())
        {
            AssembledKernels.Products.Prepare(format);
            var weight = new TileMatrix(format, 7 * 16, 256, 0);
            ActivationForm form = AssembledKernels.Products.FormFor(format);
            using var random = new RandomTiles(1);
            weight = weight with { Address = random.Allocate(weight.Bytes) };
            var x = new ActivationRows(form, random.Allocate(512 * ActivationRows.StrideOf(form, 256)), ActivationRows.StrideOf(form, 256));
            var y = (float*)random.Allocate(512 * 7 * 64);
            long before = GC.GetAllocatedBytesForCurrentThread();
            AssembledKernels.Products.MatMul(weight, 0, 7, x, 1, y, 7 * 16, add: false);
            AssembledKernels.Products.MatMul(weight, 0, 7, x, 512, y, 7 * 16, add: false);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    [InlineData(DType.Q8_0)]
    [InlineData(DType.Q4_0)]
    [InlineData(DType.Q4_K)]
    [InlineData(DType.Q6_K)]
    [InlineData(DType.Q5_1)]
    public void Every_block_of_rows_and_every_range_of_columns_gives_the_same_bits(DType dtype)
    {
        Assert.SkipUnless(AssembledKernels.IsSupported, "This machine has no AVX-512 with VNNI and BF16.");

        // So wide that blocks of many rows take the columns in parts, and with more tiles than stay in the cache together.
        const int Columns = 2304, Outputs = 70 * 16, MostRows = 60;
        using var random = new RandomTiles(5);
        TileMatrix weight = random.Pack(random.Stored(dtype, Outputs, Columns));
        TileProducts products = AssembledKernels.Products;
        ActivationForm form = products.FormFor(weight.Format);
        ActivationRows x = random.Activations(random.Floats(MostRows, Columns), MostRows, Columns, form, weight.Format);
        float[] alone = new float[MostRows * Outputs], reference = new float[MostRows * Outputs];
        fixed (float* to = alone, expected = reference)
        {
            for (int t = 0; t < MostRows; t++)
            {
                products.MatMul(weight, 0, weight.Tiles, new ActivationRows(form, (nint)x.Row(t), x.Stride), 1, to + (t * Outputs), Outputs, add: false);
            }

            if (form != ActivationForm.BF16)
            {
                ReferenceKernels.Products.MatMul(weight, 0, 2, x, MostRows, expected, Outputs, add: false);
                for (int i = 0; i < alone.Length; i++)
                {
                    Assert.True(i % Outputs >= 32 || reference[i] == alone[i], $"row {i / Outputs}, output {i % Outputs}");
                }
            }
        }

        foreach (int rows in new[] { 2, 3, 4, 5, 6, 10, 11, 12, 14, 16, 18, 20, 21, 22, 24, 26, 28, 30, 31, 36, 37, MostRows })
        {
            float[] together = new float[rows * Outputs];
            fixed (float* to = together)
            {
                products.MatMul(weight, 0, weight.Tiles, x, rows, to, Outputs, add: false);
            }

            Assert.True(together.AsSpan().SequenceEqual(alone.AsSpan(0, rows * Outputs)), $"{rows} rows");
        }
    }

    // The permissions of the mapping that holds an address.
    static string Mapping(nint address)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] words = line.Split(' ', 3), range = words[0].Split('-');
            if (address >= nint.Parse(range[0], NumberStyles.HexNumber) && address < nint.Parse(range[1], NumberStyles.HexNumber))
            {
                return words[1];
            }
        }

        throw new InvalidOperationException("no mapping");
    }
}
