using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Cuda;
using OpenElm.Inference.Tests;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>The kernels of attention over a cache against the formula in double precision, with numbers that are their own rounding.</summary>
[Collection(nameof(OneGpu))]
public sealed class AttentionTests : KernelTests
{
    const int KvHeads = 2, First = 1, Planes = 2 * (First + KvHeads + 1), Capacity = 330; // the layer's heads lie between others
    const double Allowed = 6e-3;                                                          // of the norm: queries, weights and results have 8 bits

    readonly Random _random = new(7);

    public static TheoryData<int, int, bool> Shapes => new()
    {
        { 16, 2, false }, { 32, 4, false }, { 48, 1, false }, { 64, 4, false }, { 128, 4, false }, { 128, 1, false }, { 64, 4, true }, { 128, 8, true },
    };

    // Two sequences: one begins, one goes on behind 280 positions and fills its cache.
    [Theory, InlineData(64, 4, false), InlineData(64, 2, true), InlineData(128, 1, false), InlineData(128, 8, true)]
    public void Tiles_of_rows_have_the_result_of_the_formula(int headDim, int group, bool cacheIsBytes)
    {
        (int Past, int Rows)[] sequences = [(0, 21), (280, Capacity - 280)];
        int most = 64 / group;
        var tiles = new List<int>();
        int first = 0;
        foreach ((int _, int rows) in sequences)
        {
            for (int at = 0; at < rows; at += most)
            {
                tiles.AddRange(first + at, Math.Min(most, rows - at));
            }

            first += rows;
        }

        Compare(headDim, group, cacheIsBytes, sequences, (module, qkv, rows, result, queries) =>
        {
            Kernel kernel = module["attend_tiles"];
            int bytes = RowPass.TileBytesOf(headDim);
            kernel.ReserveShared(bytes);
            kernel.LaunchShared(Stream, (KvHeads, tiles.Count / 2), 256, bytes, qkv, rows, Send<int>([.. tiles]), result, First, queries, KvHeads);
        });
    }

    [Theory, MemberData(nameof(Shapes))]
    public void A_warp_a_head_has_the_result_of_the_formula(int headDim, int group, bool cacheIsBytes) =>
        Compare(headDim, group, cacheIsBytes, [(0, 3), (60, 7)], (module, qkv, rows, result, queries) =>
            module["attend"].LaunchShared(Stream, ((queries + 7) / 8, 10), 256, 8 * headDim * sizeof(float), qkv, rows, result, First, queries, KvHeads));

    // Queries without a norm at angles of 0, so that nothing turns; what is new is what the cache holds there already.
    [Theory, MemberData(nameof(Shapes)), InlineData(64, 1, false), InlineData(64, 8, true)]
    public void Rows_that_are_alone_have_the_result_of_the_formula(int headDim, int group, bool cacheIsBytes)
    {
        if (headDim == 48)
        {
            return; // no kernel of its own
        }

        const int Positions = 256;
        Compare(headDim, group, cacheIsBytes, [(0, 1), (127, 1), (128, 1), (Capacity - 1, 1), (40, 1)], (module, qkv, rows, result, queries) =>
        {
            float[] ones = [.. Enumerable.Repeat(1f, Capacity * headDim / 2)];
            nint counters = Send(new uint[5 * KvHeads]);
            module["attend_alone"].LaunchEarly(
                Stream, (2, KvHeads, 5), 128, sizeof(float) * 4 * group * (headDim + 4), qkv, rows, (nint)0, (nint)0, Send(ones), Send(new float[ones.Length]), result,
                Send(new float[5 * queries * 2 * (headDim + 2)]), counters, First, queries, KvHeads, 1e-6f, Positions);
            Assert.All(Fetch<uint>(counters, 5 * KvHeads), count => Assert.Equal(0u, count));
        });
    }

    void Compare(int headDim, int group, bool cacheIsBytes, (int Past, int Rows)[] sequences, Action<KernelModule, nint, nint, nint, int> launch)
    {
        OpenElmConfig config = TestModels.Blocked with { HeadDim = headDim, QueryHeadsPerKvHead = group, ModelDim = headDim * group * KvHeads };
        var device = new CudaDevice();
        int queries = group * KvHeads, width = (queries + (2 * KvHeads)) * headDim, count = sequences.Sum(sequence => sequence.Rows);
        ushort[] qkv = [.. Enumerable.Range(0, count * width).Select(_ => FloatEncoding.ToBFloat16((float)(3 * Normal())))];
        var rows = new List<DeviceRow>();
        var expected = new List<double>();
        foreach ((int past, int own) in sequences)
        {
            nint cache = Cache(headDim, cacheIsBytes, out float[] numbers);
            for (int i = 0; i < own; i++)
            {
                int row = rows.Count;
                CopyNewest(qkv, numbers, row, past + i, queries, width, headDim);
                rows.Add(new DeviceRow(0, past + i, Capacity, 0, cache));
                for (int head = 0; head < queries; head++)
                {
                    float[] q = Widen(qkv.AsSpan((row * width) + (head * headDim), headDim).ToArray());
                    int plane = 2 * (First + (head / group)) * Capacity * headDim;
                    expected.AddRange(Attend(q, numbers.AsSpan(plane), numbers.AsSpan(plane + (Capacity * headDim)), past + i + 1));
                }
            }
        }

        nint result = Room(2L * expected.Count);
        using (var module = new KernelModule(DecodeKernels.Compile("pass", device.ComputeCapability, config, CudaPrecision.Bf16, null, cacheIsBytes: cacheIsBytes)))
        {
            launch(module, Send<ushort>(qkv), Send<DeviceRow>([.. rows]), result, queries);
            Assert.InRange(Distance(expected, Widen(Fetch<ushort>(result, expected.Count))), 1e-4, Allowed);
        }
    }

    // The row's key and value are those of the cache, to 8 bits.
    static void CopyNewest(ushort[] qkv, float[] numbers, int row, int position, int queries, int width, int headDim)
    {
        for (int head = 0; head < 2 * KvHeads; head++)
        {
            int from = ((2 * (First + (head % KvHeads))) + (head / KvHeads)) * Capacity * headDim;
            for (int i = 0; i < headDim; i++)
            {
                qkv[(row * width) + ((queries + head) * headDim) + i] = FloatEncoding.ToBFloat16(numbers[from + (position * headDim) + i]);
            }
        }
    }

    // A cache full of random numbers, and what it holds.
    nint Cache(int headDim, bool isBytes, out float[] numbers)
    {
        numbers = new float[Planes * Capacity * headDim];
        if (!isBytes)
        {
            ushort[] bits = Bits([.. numbers.Select(_ => (float)Normal())]);
            numbers = Widen(bits);
            return Send(bits);
        }

        int planeBytes = (Capacity * headDim) + ((Capacity + 3) / 4 * 16);
        byte[] bytes = new byte[Planes * planeBytes];
        for (int plane = 0; plane < Planes; plane++)
        {
            for (int position = 0; position < Capacity; position++)
            {
                float factor = (float)(0.01 + (0.02 * _random.NextDouble()));
                BitConverter.TryWriteBytes(bytes.AsSpan((plane * planeBytes) + (Capacity * headDim) + (4 * position)), factor);
                for (int i = 0; i < headDim; i++)
                {
                    var number = (sbyte)_random.Next(-127, 128);
                    bytes[(plane * planeBytes) + (position * headDim) + i] = (byte)number;
                    numbers[(((plane * Capacity) + position) * headDim) + i] = number * factor;
                }
            }
        }

        return Send<byte>(bytes);
    }

    static double[] Attend(float[] q, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int positions)
    {
        int headDim = q.Length;
        double[] scores = new double[positions], y = new double[headDim];
        for (int p = 0; p < positions; p++)
        {
            for (int i = 0; i < headDim; i++)
            {
                scores[p] += (double)q[i] * keys[(p * headDim) + i] / Math.Sqrt(headDim);
            }
        }

        double most = scores.Max(), sum = scores.Sum(score => Math.Exp(score - most));
        for (int p = 0; p < positions; p++)
        {
            for (int i = 0; i < headDim; i++)
            {
                y[i] += Math.Exp(scores[p] - most) / sum * values[(p * headDim) + i];
            }
        }

        return y;
    }

    double Normal() => Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());
}
