using OpenElm.Cuda;
using OpenElm.Inference.Tests;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>Products of few rows, with the steps around them, against the formula in double precision.</summary>
[Collection(nameof(OneGpu))]
public sealed class FewRowsTests : KernelTests
{
    const double Eps = 1e-6, Allowed = 4e-3; // of the norm: half a unit of 8 bits

    readonly Random _random = new(11);
    readonly KernelModule _module;

    public FewRowsTests() =>
        _module = new KernelModule(DecodeKernels.Compile("pass", new CudaDevice().ComputeCapability, TestModels.Blocked, CudaPrecision.Bf16, null));

    // Less than a turn, a part of one, several of every warp; columns that leave a block's part over.
    public static TheoryData<int, int, int> Shapes => new() { { 1, 8, 24 }, { 3, 72, 131 }, { 8, 1280, 40 }, { 9, 200, 16 }, { 16, 4360, 56 } };

    public override void Dispose()
    {
        _module.Dispose();
        base.Dispose();
    }

    [Theory, MemberData(nameof(Shapes))]
    public void The_norm_comes_behind_the_product(int rows, int inner, int columns)
    {
        (float[] x, float[] w) = (Rounded(rows * inner), Rounded(columns * inner));
        float[] squares = [.. Enumerable.Range(0, rows * 3).Select(_ => _random.NextSingle() * inner)];
        nint y = Room(4 * rows * columns);
        Launch("logits", rows, inner, columns, 16, Send(Bits(x)), Send(Bits(w)), Send(squares), 3, y, 0, 0, 0);
        double[] expected = Product(x, w, rows, inner, columns, row => 1 / Math.Sqrt((((double)squares[3 * row] + squares[(3 * row) + 1] + squares[(3 * row) + 2]) / inner) + Eps));
        Near(expected, Fetch<float>(y, rows * columns), 1e-5);
        Launch("scaled", rows, inner, columns, 16, Send(Bits(x)), Send(Bits(w)), Send(squares), 3, y, 0, 0, 0);
        Near(expected, Halves(y, rows * columns), Allowed);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Gate_and_up_meet_in_a_block(int rows, int inner, int columns)
    {
        columns = (columns + 7) / 8 * 8;
        (float[] x, float[] w) = (Rounded(rows * inner), Rounded(2 * columns * inner));
        float[] squares = [.. Enumerable.Range(0, rows).Select(_ => (1 + _random.NextSingle()) * inner * inner)];
        nint y = Room(2 * rows * columns);
        Launch("gated", rows, inner, columns, 8, Send(Bits(x)), Send(Bits(w)), Send(squares), 1, y, 0, 0, 0);
        double[] both = Product(x, w, rows, inner, 2 * columns, row => 1 / Math.Sqrt((squares[row] / inner) + Eps));
        double[] expected = [.. Enumerable.Range(0, rows * columns).Select(i =>
        {
            (int row, int column) = (i / columns, i % columns);
            double gate = both[(row * 2 * columns) + column];
            return gate / (1 + Math.Exp(-gate)) * both[(row * 2 * columns) + columns + column];
        })];
        Near(expected, Halves(y, rows * columns), Allowed);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void The_residual_grows_and_the_next_norm_begins(int rows, int inner, int columns)
    {
        (float[] x, float[] w, float[] residual, float[] norm) = (Rounded(rows * inner), Rounded(columns * inner), Rounded(rows * columns), Rounded(columns));
        int blocks = (columns + 15) / 16;
        nint sum = Send(residual), y = Room(2 * rows * columns), squares = Room(4 * rows * blocks);
        Launch("added", rows, inner, columns, 16, Send(Bits(x)), Send(Bits(w)), 0, 0, y, sum, Send(norm), squares);
        double[] expected = [.. Product(x, w, rows, inner, columns, _ => 1).Zip(residual, (a, b) => a + b)];
        Near(expected, Fetch<float>(sum, rows * columns), 1e-5);
        Near([.. expected.Select((e, i) => e * norm[i % columns])], Halves(y, rows * columns), Allowed);
        Near([.. Enumerable.Range(0, rows).Select(row => expected.Skip(row * columns).Take(columns).Sum(e => e * e))], [.. Fetch<float>(squares, rows * blocks).Chunk(blocks).Select(parts => parts.Sum())], 1e-5);
    }

    void Launch(string kind, int rows, int inner, int columns, int ofBlock, nint x, nint w, nint squares, int parts, nint y, nint residual, nint norm, nint nextSquares) =>
        _module[$"few_{kind}_{(rows <= 8 ? 8 : 16)}"].LaunchEarly(
            Stream, ((columns + ofBlock - 1) / ofBlock, 1, 1), 256, 0, x, w, inner, columns, rows, squares, parts, inner, (float)Eps, y, residual, norm, nextSquares);

    static double[] Product(float[] x, float[] w, int rows, int inner, int columns, Func<int, double> factor)
    {
        double[] y = new double[rows * columns];
        for (int i = 0; i < y.Length; i++)
        {
            for (int k = 0; k < inner; k++)
            {
                y[i] += (double)x[(i / columns * inner) + k] * w[(i % columns * inner) + k];
            }

            y[i] *= factor(i / columns);
        }

        return y;
    }

    static void Near(double[] expected, float[] actual, double allowed) => Assert.InRange(Distance(expected, actual), 0, allowed); // no number fails it

    float[] Rounded(int count) => Widen(Bits([.. Enumerable.Range(0, count).Select(_ => _random.NextSingle() - 0.5f)]));

    float[] Halves(nint at, int count) => Widen(Fetch<ushort>(at, count));
}
