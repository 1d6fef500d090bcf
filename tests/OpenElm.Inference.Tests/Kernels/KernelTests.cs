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
    public void MatMul_agrees_with_the_reference(string name, int width)
    {
        foreach ((int rows, int seq) in new[] { (1, 1), (3, 2), (4, 3), (5, 4), (8, 7), (17, 5) })
        {
            float[] weight = Numbers(rows * width, 3), x = Numbers(seq * width, 4);
            int stride = rows + 3; // a window of a wider result
            float[] expected = Filled(seq * stride), actual = Filled(seq * stride);
            ReferenceKernels.Set.MatMul(weight, width, x, expected.AsSpan(1..), stride);
            CpuKernels.Get(name).MatMul(weight, width, x, actual.AsSpan(1..), stride);
            Close.Assert(expected, actual, 1e-6 * width);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_token_gets_the_same_bits_alone_and_in_a_batch(string name, int width)
    {
        const int Rows = 11, Seq = 7;
        float[] weight = Numbers(Rows * width, 3), x = Numbers(Seq * width, 4), batch = new float[Seq * Rows];
        CpuKernels.Get(name).MatMul(weight, width, x, batch, Rows);
        for (int t = 0; t < Seq; t++)
        {
            float[] alone = new float[Rows];
            CpuKernels.Get(name).MatMul(weight, width, x.AsSpan(t * width, width), alone, Rows);
            Assert.Equal(batch[(t * Rows)..((t + 1) * Rows)], alone);
        }
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
    public void Attention_agrees_with_the_reference(string name, int positions)
    {
        foreach (int headDim in new[] { 2, 16, 24, 64 })
        {
            float[] query = Numbers(headDim, 6), keys = Numbers(positions * headDim, 7), values = Numbers(positions * headDim, 8);
            query = [.. query.Select(q => q * 30)]; // scores far beyond 89, where e^x overflows
            float[] expected = new float[headDim], actual = [.. Filled(headDim)];
            ReferenceKernels.Set.Attention(query, keys, values, new float[positions], expected);
            CpuKernels.Get(name).Attention(query, keys, values, new float[positions], actual);
            Close.Assert(expected, actual, 2e-5); // scores of ±100 carry an error of 1e-5 into the exponent
        }
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

    [Theory, MemberData(nameof(Cases))]
    public void Add_agrees_with_the_reference(string name, int width)
    {
        float[] expected = Numbers(width, 11), actual = [.. expected], y = Numbers(width, 12);
        ReferenceKernels.Set.Add(expected, y);
        CpuKernels.Get(name).Add(actual, y);
        Assert.Equal(expected, actual);
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
