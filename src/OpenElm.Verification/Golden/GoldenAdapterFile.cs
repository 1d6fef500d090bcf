namespace OpenElm.Verification.Golden;

/// <summary>Reads <c>adapters-*</c> files: tensors called <c>lora.…</c> and <c>dora.…</c>.</summary>
internal static class GoldenAdapterFile
{
    /// <summary>The kinds of adapter that a file holds.</summary>
    public static IEnumerable<string> Kinds(GoldenFile file) =>
        file.Tensors.Tensors.Keys.Where(key => key.EndsWith(".A", StringComparison.Ordinal) && !key.Contains(".grad.", StringComparison.Ordinal)).Select(key => key[..^".A".Length]);

    /// <summary>Takes what a runtime needs of one kind.</summary>
    public static GoldenAdapter Read(GoldenFile file, string kind)
    {
        GoldenTensor Tensor(string name) => file.Tensor($"{kind}.{name}");

        var adapter = new GoldenAdapter(
            Tensor("base"), Tensor("A"), Tensor("B"), file.Tensors.Tensors.ContainsKey($"{kind}.magnitude") ? Tensor("magnitude") : null,
            file.Number("alpha"), Tensor("x"), Tensor("dy"));
        GoldenTensor merged = Tensor("merged");
        return merged.Values.AsSpan().SequenceEqual(adapter.Base.Values) ? adapter with { Base = Unmerge(adapter, merged, Tensor("grad.B")) } : adapter;
    }

    // The reference merges in place. A file that was written afterwards holds the merged weight twice, and W follows from it:
    // merged = g ⊙ (W + s·B·A), and d loss / d B = g ⊙ s·dyᵀ·(x·Aᵀ) tells g = m/n of every row.
    static GoldenTensor Unmerge(GoldenAdapter adapter, GoldenTensor merged, GoldenTensor gradientOfB)
    {
        (int rank, int inputs, int outputs, int tokens) = (adapter.Rank, adapter.Inputs, adapter.Outputs, (int)adapter.X.Shape[0]);
        (float[] a, float[] b, float[] x, float[] dy) = (adapter.A.Values, adapter.B.Values, adapter.X.Values, adapter.OutputGradient.Values);
        double scaling = adapter.Alpha / rank;
        float[] w = new float[merged.Values.Length];
        for (int o = 0; o < outputs; o++)
        {
            double gain = 1;
            if (adapter.Magnitude is not null)
            {
                double product = 0, square = 0; // least squares over the rank
                for (int k = 0; k < rank; k++)
                {
                    double plain = 0;
                    for (int t = 0; t < tokens; t++)
                    {
                        plain += dy[(t * outputs) + o] * Dot(x.AsSpan(t * inputs, inputs), a.AsSpan(k * inputs, inputs));
                    }

                    product += scaling * plain * gradientOfB.Values[(o * rank) + k];
                    square += scaling * plain * scaling * plain;
                }

                gain = product / square;
            }

            for (int i = 0; i < inputs; i++)
            {
                double change = 0;
                for (int k = 0; k < rank; k++)
                {
                    change += (double)b[(o * rank) + k] * a[(k * inputs) + i];
                }

                w[(o * inputs) + i] = (float)((merged.Values[(o * inputs) + i] / gain) - (scaling * change));
            }
        }

        return merged with { Values = w };
    }

    static double Dot(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        double sum = 0;
        for (int i = 0; i < x.Length; i++)
        {
            sum += (double)x[i] * y[i];
        }

        return sum;
    }
}
