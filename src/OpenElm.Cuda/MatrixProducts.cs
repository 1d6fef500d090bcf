using System.Runtime.CompilerServices;

namespace OpenElm.Cuda;

/// <summary>The element type of a matrix on the GPU.</summary>
public enum MatrixType
{
    /// <summary>Single precision.</summary>
    Fp32,

    /// <summary>bfloat16.</summary>
    Bf16,

    /// <summary>Eight bits: e4m3 on both sides. A is stored as [rows, inner], B as [columns, inner], and both have a factor.</summary>
    Fp8,

    /// <summary>Eight bits: A, a gradient, is e5m2, and B e4m3.</summary>
    Fp8Gradient,
}

/// <summary>One kind of product, all matrices row after row: D[rows, columns] = op(A) · op(B) + addend · C, with sums in single precision.</summary>
/// <param name="Rows">Rows of D.</param>
/// <param name="Columns">Columns of D.</param>
/// <param name="Inner">Summands of an element.</param>
/// <param name="TransposeA">Whether A is stored as [inner, rows] instead of [rows, inner].</param>
/// <param name="TransposeB">Whether B is stored as [columns, inner] instead of [inner, columns].</param>
/// <param name="Inputs">The type of A and B.</param>
/// <param name="Result">The type of C and D.</param>
/// <param name="Addend">The factor of C; 0 reads none.</param>
public readonly record struct ProductShape(int Rows, int Columns, int Inner, bool TransposeA, bool TransposeB, MatrixType Inputs, MatrixType Result, float Addend = 0)
{
    /// <summary>Floating-point operations.</summary>
    public double Flops => 2.0 * Rows * Columns * Inner;
}

/// <summary>Matrix products by cuBLASLt, whose algorithm is found by timing its proposals where that is asked for.</summary>
public sealed unsafe class MatrixProducts : IDisposable
{
    const int Proposals = 48, Finalists = 6;

    readonly nint _handle, _preference, _workspace;
    readonly nuint _workspaceBytes;
    readonly Dictionary<ProductShape, Plan> _plans = [];
    readonly ProductChoices _choices;

    sealed record Plan(nint Descriptor, nint A, nint B, nint D)
    {
        public CublasLtInterface.Heuristic[] Found = [];
        public int Chosen;
        public bool IsTimed;
    }

    /// <summary>Creates the library's handle.</summary>
    /// <param name="workspace">Device memory for the library's own use.</param>
    /// <param name="workspaceBytes">Its size; 32 MiB are enough for every algorithm of Hopper.</param>
    /// <param name="deviceName">The GPU, whose earlier choices are kept.</param>
    public MatrixProducts(nint workspace, long workspaceBytes, string deviceName)
    {
        _choices = new ProductChoices(deviceName);
        (_workspace, _workspaceBytes) = (workspace, (nuint)workspaceBytes);
        Check(CublasLtInterface.Create(out _handle));
        Check(CublasLtInterface.PreferenceCreate(out _preference));
        nuint bytes = _workspaceBytes;
        Check(CublasLtInterface.PreferenceSet(_preference, CublasLtInterface.MaxWorkspace, &bytes, (nuint)sizeof(nuint)));
        uint schemes = CublasLtInterface.ReproducibleReductions;
        Check(CublasLtInterface.PreferenceSet(_preference, CublasLtInterface.ReductionSchemes, &schemes, sizeof(uint)));
    }

    /// <summary>Version of the library.</summary>
    public static long Version => (long)CublasLtInterface.Version();

    /// <summary>What was found by timing: microseconds of the library's first proposal and of the best.</summary>
    public List<(ProductShape Shape, float FirstMicroseconds, float BestMicroseconds, int Chosen)> Timings { get; } = [];

    /// <summary>Puts a product into a stream.</summary>
    /// <param name="shape">Its kind.</param>
    /// <param name="a">A.</param>
    /// <param name="b">B.</param>
    /// <param name="d">D, which may be C.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="c">C; D where it is 0.</param>
    /// <param name="factors">Device addresses of the factors that A's and B's elements are multiplied with, where they are of eight bits.</param>
    public void Multiply(in ProductShape shape, nint a, nint b, nint d, nint stream, nint c = 0, (nint A, nint B) factors = default)
    {
        Plan plan = PlanOf(shape);
        SetFactors(plan, factors);
        Launch(shape, plan, plan.Found[plan.Chosen], a, b, c == 0 ? d : c, d, stream);
    }

    /// <summary>Times the library's proposals for a kind of product and keeps the fastest; D is overwritten. More calls do nothing.</summary>
    /// <param name="shape">Its kind.</param>
    /// <param name="a">A; its values should be such as occur, because the speed depends on them.</param>
    /// <param name="b">B.</param>
    /// <param name="d">D.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="factors">As for <see cref="Multiply"/>.</param>
    public void FindFastest(in ProductShape shape, nint a, nint b, nint d, nint stream, (nint A, nint B) factors = default)
    {
        Plan plan = PlanOf(shape);
        SetFactors(plan, factors);
        if (plan.IsTimed)
        {
            return;
        }

        plan.IsTimed = true;
        if (_choices.TryGet(shape.ToString(), out (int Chosen, float First, float Best) earlier) && earlier.Chosen < plan.Found.Length)
        {
            plan.Chosen = earlier.Chosen;
            Timings.Add((shape, earlier.First, earlier.Best, earlier.Chosen));
            return;
        }

        // All proposals once, then the best of those at length.
        ProductShape kind = shape;
        float[] times = [.. plan.Found.Select(proposal => Time(proposal, runs: 1, repeats: 1))];
        int repeats = Math.Clamp((int)(2e12 / shape.Flops / 10), 2, 8);
        int[] finalists = [.. times.Index().OrderBy(entry => entry.Item).Take(Finalists).Select(entry => entry.Index).Append(0).Distinct()];
        Array.ForEach(finalists, i => times[i] = Time(plan.Found[i], runs: 2, repeats));
        plan.Chosen = finalists.MinBy(i => times[i]);
        Timings.Add((shape, times[0], times[plan.Chosen], plan.Chosen));
        _choices.Add(shape.ToString(), plan.Chosen, times[0], times[plan.Chosen]);

        float Time(CublasLtInterface.Heuristic proposal, int runs, int repeats) => FastestRun(() => Launch(kind, plan, proposal, a, b, d, d, stream), runs, repeats, stream);
    }

    /// <summary>Times two ways to the result of a product, or of a product and what follows. Once for each name: the times are kept with the choices of algorithms.</summary>
    /// <param name="name">What is computed, with its sizes.</param>
    /// <param name="usual">Puts one way into the stream.</param>
    /// <param name="other">Puts the other one into the stream.</param>
    /// <param name="agree">Whether both give the same; asked before each round of timing, so it may also draw new numbers.</param>
    /// <param name="stream">The stream.</param>
    /// <returns>Microseconds of both; null if they do not agree.</returns>
    public (float Usual, float Other)? Compare(string name, Action usual, Action other, Func<bool> agree, nint stream)
    {
        ArgumentNullException.ThrowIfNull(agree);
        if (_choices.TryGet(name, out (int Chosen, float First, float Best) known))
        {
            return (known.First, known.Best);
        }

        if (TimesInTurn([usual, other], agree, stream) is not [float first, float second])
        {
            return null;
        }

        _choices.Add(name, chosen: second < first ? 1 : 0, first, second);
        return (first, second);
    }

    /// <summary>Times several ways to the same. Once for each name, as <see cref="Compare"/>.</summary>
    /// <param name="name">What is computed, with its sizes.</param>
    /// <param name="ways">Each puts itself into the stream.</param>
    /// <param name="stream">The stream.</param>
    /// <returns>The number of the fastest.</returns>
    public int FastestOf(string name, IReadOnlyList<Action> ways, nint stream)
    {
        ArgumentNullException.ThrowIfNull(ways);
        if (_choices.TryGet(name, out (int Chosen, float First, float Best) known) && known.Chosen < ways.Count)
        {
            return known.Chosen;
        }

        float[] times = TimesInTurn(ways, agree: null, stream)!;
        int fastest = Array.IndexOf(times, times.Min());
        _choices.Add(name, fastest, times[0], times[fastest]);
        return fastest;
    }

    /// <summary>Keeps what was found by timing for later runs.</summary>
    public void SaveChoices() => _choices.Save();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Plan plan in _plans.Values)
        {
            _ = CublasLtInterface.DescriptorDestroy(plan.Descriptor);
            foreach (nint layout in new[] { plan.A, plan.B, plan.D })
            {
                _ = CublasLtInterface.LayoutDestroy(layout);
            }
        }

        _ = CublasLtInterface.PreferenceDestroy(_preference);
        _ = CublasLtInterface.Destroy(_handle);
    }

    // Microseconds of each way, the best of some rounds: in turn, because the chip becomes slower as it becomes warm. Null if before a round they do not agree.
    static float[]? TimesInTurn(IReadOnlyList<Action> ways, Func<bool>? agree, nint stream)
    {
        float[] times = [.. Enumerable.Repeat(float.PositiveInfinity, ways.Count)];
        for (int round = 0; round < 3; round++)
        {
            if (agree is not null && !agree())
            {
                return null;
            }

            for (int i = 0; i < times.Length; i++)
            {
                times[i] = Math.Min(times[i], FastestRun(ways[i], runs: 1, repeats: 3, stream));
            }
        }

        return times;
    }

    // Microseconds. The best of short runs: a longer one would only measure how warm the chip is.
    static float FastestRun(Action launch, int runs, int repeats, nint stream)
    {
        using CudaEvent start = new(), end = new();
        float best = float.PositiveInfinity;
        launch(); // warms up
        for (int run = 0; run < runs; run++)
        {
            start.Record(stream);
            for (int repeat = 0; repeat < repeats; repeat++)
            {
                launch();
            }

            end.Record(stream);
            end.Synchronize();
            best = Math.Min(best, 1000 * end.MillisecondsSince(start) / repeats);
        }

        return best;
    }

    void Launch(in ProductShape shape, Plan plan, CublasLtInterface.Heuristic proposal, nint a, nint b, nint c, nint d, nint stream)
    {
        (float one, float addend) = (1, shape.Addend);
        // The library stores columns one after the other, so it computes Dᵀ = op(B)ᵀ · op(A)ᵀ: its A is our B.
        Check(CublasLtInterface.Multiply(
            _handle, plan.Descriptor, &one, b, plan.A, a, plan.B, &addend, c, plan.D, d, plan.D, &proposal.Algorithm, _workspace, _workspaceBytes, stream), shape.ToString());
    }

    Plan PlanOf(in ProductShape shape)
    {
        if (_plans.TryGetValue(shape, out Plan? known))
        {
            return known;
        }

        Check(CublasLtInterface.DescriptorCreate(out nint descriptor, CublasLtInterface.ComputeFloat, CublasLtInterface.Float32));
        int first = shape.TransposeB ? 1 : 0, second = shape.TransposeA ? 1 : 0;
        Check(CublasLtInterface.DescriptorSet(descriptor, CublasLtInterface.TransposeA, &first, sizeof(int)));
        Check(CublasLtInterface.DescriptorSet(descriptor, CublasLtInterface.TransposeB, &second, sizeof(int)));
        if (shape.Inputs == MatrixType.Fp8)
        {
            sbyte fast = 1; // sums of forward products in 14 bits of mantissa, as is usual; those of gradients in full
            Check(CublasLtInterface.DescriptorSet(descriptor, CublasLtInterface.FastAccumulation, &fast, sizeof(sbyte)));
        }

        nint a = Layout(shape.Inputs == MatrixType.Fp8Gradient ? MatrixType.Fp8 : shape.Inputs, shape.TransposeB ? (shape.Inner, shape.Columns) : (shape.Columns, shape.Inner));
        nint b = Layout(shape.Inputs, shape.TransposeA ? (shape.Rows, shape.Inner) : (shape.Inner, shape.Rows));
        nint d = Layout(shape.Result, (shape.Columns, shape.Rows));
        var plan = new Plan(descriptor, a, b, d) { Found = new CublasLtInterface.Heuristic[Proposals] };
        fixed (CublasLtInterface.Heuristic* results = plan.Found)
        {
            Check(CublasLtInterface.GetHeuristics(_handle, descriptor, a, b, d, d, _preference, Proposals, results, out int found), shape.ToString());
            plan.Found = plan.Found[..found];
        }

        if (plan.Found is [])
        {
            throw new CudaException($"cuBLASLt has no algorithm for {shape}");
        }

        return _plans[shape] = plan;
    }

    // The library's A is our B.
    static void SetFactors(Plan plan, (nint A, nint B) factors)
    {
        if (factors.A != 0)
        {
            Check(CublasLtInterface.DescriptorSet(plan.Descriptor, CublasLtInterface.FactorA, &factors.B, (nuint)sizeof(nint)));
            Check(CublasLtInterface.DescriptorSet(plan.Descriptor, CublasLtInterface.FactorB, &factors.A, (nuint)sizeof(nint)));
        }
    }

    static nint Layout(MatrixType type, (int Rows, int Columns) size)
    {
        int cudaType = type switch
        {
            MatrixType.Fp32 => CublasLtInterface.Float32,
            MatrixType.Fp8 => CublasLtInterface.E4M3,
            MatrixType.Fp8Gradient => CublasLtInterface.E5M2,
            _ => CublasLtInterface.BFloat16,
        };
        Check(CublasLtInterface.LayoutCreate(out nint layout, cudaType, (ulong)size.Rows, (ulong)size.Columns, size.Rows));
        return layout;
    }

    static void Check(int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0)
        {
            throw new CudaException($"cuBLASLt: status {status} for {call}");
        }
    }
}
