namespace OpenElm.Inference.Cuda.Tests;

/// <summary>How tests open models on the GPU, and what they ask of any model.</summary>
internal static class GpuModels
{
    /// <summary>Options that put a model on the GPU; skips the test where there is none.</summary>
    /// <param name="precision">Of its weights.</param>
    /// <returns>The options.</returns>
    public static InferenceOptions On(CudaPrecision precision)
    {
        CudaInferenceDevice? device = CudaInferenceDevice.TryOpen(precision, out string? reason);
        Assert.SkipWhen(device is null, $"no GPU here: {reason}");
        return new InferenceOptions { Device = device };
    }

    /// <summary>Logits of all tokens, in one pass.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The sequence.</param>
    /// <returns>[tokens, vocab].</returns>
    public static float[] Whole(OpenElmModel model, int[] tokens)
    {
        float[] logits = new float[tokens.Length * model.Config.VocabSize];
        model.ComputeLogits(tokens, 0, logits);
        return logits;
    }

    /// <summary>The same token by token.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The sequence.</param>
    /// <returns>[tokens, vocab].</returns>
    public static float[] OneByOne(OpenElmModel model, int[] tokens)
    {
        int vocab = model.Config.VocabSize;
        float[] logits = new float[tokens.Length * vocab];
        using SequenceState state = model.CreateState(tokens.Length);
        for (int i = 0; i < tokens.Length; i++)
        {
            model.Decode(tokens[i], state, logits.AsSpan(i * vocab, vocab));
        }

        return logits;
    }

    /// <summary>docs/numerics.md, conversions: BF16.</summary>
    /// <param name="expected">In single precision.</param>
    /// <param name="actual">In bfloat16.</param>
    public static void Near(float[] expected, float[] actual) => Assert.InRange(
        Math.Sqrt(expected.Zip(actual, (e, a) => (double)(e - a) * (e - a)).Sum() / expected.Sum(e => (double)e * e)), 1e-5, 0.06);
}
