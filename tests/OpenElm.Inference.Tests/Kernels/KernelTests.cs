using System.Runtime.Intrinsics.X86;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Kernels.Reference;

namespace OpenElm.Inference.Tests.Kernels;

/// <summary>Every kernel set against plain loops, on widths that are no multiple of any vector.</summary>
public sealed class KernelTests
{
    static readonly int[] Widths = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129, 257];

    public static TheoryData<string, int> Cases => [.. from set in CpuKernels.Available from width in Widths select (set.Name, width)];

    [Theory, MemberData(nameof(Cases))]
    public void RmsNorm_agrees_with_the_reference(string name, int width)
    {
        float[] x = Numbers(3 * width, 1), weight = Numbers(width, 2);
        float[] expected = new float[x.Length], actual = new float[x.Length];
        ReferenceKernels.Set.RmsNorm(x, weight, 1e-5f, expected);
        CpuKernels.Get(name).RmsNorm(x, weight, 1e-5f, actual);
        Close.Assert(expected, actual, 2e-6 * 3);
        CpuKernels.Get(name).RmsNorm(x, weight, 1e-5f, x);
        Assert.Equal(actual, x); // in place
    }

    [Theory, MemberData(nameof(Cases))]
    public void Rope_agrees_with_the_reference(string name, int half)
    {
        float[] expected = Numbers(3 * 2 * half, 5), actual = [.. expected];
        float[] cos = [.. Enumerable.Range(0, half).Select(k => MathF.Cos(k + 0.3f))], sin = [.. Enumerable.Range(0, half).Select(k => MathF.Sin(k + 0.3f))];
        ReferenceKernels.Set.Rope(expected, cos, sin);
        CpuKernels.Get(name).Rope(actual, cos, sin);
        Close.Assert(expected, actual, 1e-6);
    }

    [Theory, MemberData(nameof(Cases))]
    public void SwiGlu_agrees_with_the_reference(string name, int width)
    {
        float[] gate = [.. Numbers(width, 9).Select(z => z * 20)], up = Numbers(width, 10);
        foreach (float[] other in new[] { up, [] })
        {
            float[] expected = [.. gate], actual = [.. gate];
            ReferenceKernels.Set.SwiGlu(expected, other);
            CpuKernels.Get(name).SwiGlu(actual, other);
            Close.Assert(expected, actual, 1e-5);
        }
    }

    [Fact]
    public void SwiGlu_of_large_numbers_is_finite()
    {
        foreach (CpuKernels set in CpuKernels.Available)
        {
            float[] gate = [-200, 200, .. Numbers(30, 1), -1000];
            set.SwiGlu(gate, []);
            Assert.All(gate, value => Assert.True(float.IsFinite(value)));
            Assert.Equal(200, gate[1]);
        }
    }

    [Fact]
    public void An_instruction_set_that_is_switched_off_is_not_used()
    {
        Assert.Equal(Avx512BW.IsSupported, CpuKernels.Available.Any(set => set.Name == "avx512"));
        Assert.Equal(Avx2.IsSupported, CpuKernels.Available.Any(set => set.Name == "avx2"));
        foreach (CpuKernels set in CpuKernels.Available)
        {
            Assert.False(Off("EnableAVX512") && set.Name.StartsWith("avx512", StringComparison.Ordinal), set.Name);
            Assert.False(Off("EnableAVX2") && set.Name.StartsWith("avx", StringComparison.Ordinal), set.Name);
            Assert.False(Off("EnableHWIntrinsic") && set.Name != "reference", set.Name);
        }

        static bool Off(string name) => Environment.GetEnvironmentVariable("DOTNET_" + name) == "0";
    }

    [Fact]
    public void The_environment_names_a_set()
    {
        Assert.Equal("reference", CpuKernels.Get("Reference").Name);
        Assert.Contains("reference", Assert.Throws<OpenElmException>(() => CpuKernels.Get("magic")).Message);
    }

    static float[] Numbers(int length, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => (random.NextSingle() * 2) - 1)];
    }

    static float[] Filled(int length) => [.. Enumerable.Repeat(42f, length)];
}
