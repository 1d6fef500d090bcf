using OpenElm.Inference;
using OpenElm.Inference.Sampling;

namespace OpenElm.Verification.Golden;

/// <summary>The CPU inference module: logits, losses from its logits, and samplers; no gradients and no training.</summary>
/// <param name="options">How models are opened; null takes the defaults.</param>
public sealed class InferenceGoldenRuntime(InferenceOptions? options = null) : IGoldenRuntime
{
    /// <inheritdoc/>
    public string Name => $"inference (cpu{(options?.Kernels is { } kernels ? $", {kernels}" : "")})";

    /// <inheritdoc/>
    public GoldenModelOutput? RunModel(GoldenModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        using OpenElmModel runtime = OpenElmModel.Create(
            model.Config, model.Weights.ToDictionary(pair => pair.Key, pair => (ReadOnlyMemory<float>)pair.Value.Values), options);
        (int batch, int seq, int vocab) = ((int)model.InputIds.Shape[0], (int)model.InputIds.Shape[1], model.Config.VocabSize);
        float[] logits = new float[batch * seq * vocab];
        for (int b = 0; b < batch; b++)
        {
            int[] ids = [.. model.InputIds.Values.AsSpan(b * seq, seq).ToArray().Select(id => (int)id)];
            runtime.ComputeLogits(ids, 0, logits.AsSpan(b * seq * vocab, seq * vocab));
        }

        long[] nextTokens = [.. Enumerable.Range(0, batch).SelectMany(b => model.InputIds.Values[((b * seq) + 1)..((b + 1) * seq)])];
        return new GoldenModelOutput(logits)
        {
            Losses = Losses(logits, nextTokens, seq, vocab, paddingId: -1, model.ZLossFactor),
            MaskedLosses = Losses(logits, model.MaskedTargets.Values, seq, vocab, model.PaddingId, model.ZLossFactor),
        };
    }

    /// <inheritdoc/>
    public IReadOnlyList<float[]>? RunSampling(GoldenSampling sampling)
    {
        ArgumentNullException.ThrowIfNull(sampling);
        (int batch, int vocab) = ((int)sampling.Logits.Shape[0], (int)sampling.Logits.Shape[1]);
        int seq = (int)sampling.InputIds.Shape[1];
        return [.. sampling.Processors.Select(processor =>
        {
            var options = new SamplingOptions
            {
                RepetitionPenalty = processor.RepetitionPenalty ?? 1,
                Temperature = processor.Temperature ?? 1,
                TopK = processor.TopK ?? 0,
                TopP = processor.TopP ?? 1,
                MinP = processor.MinP ?? 0,
            };
            Chain chain = options.Validated().CreateProcessors();
            float[] logits = [.. sampling.Logits.Values];
            for (int b = 0; b < batch; b++)
            {
                Span<float> row = logits.AsSpan(b * vocab, vocab);
                chain.Apply([.. sampling.InputIds.Values[(b * seq)..((b + 1) * seq)].Select(id => (int)id)], row);
                if (processor.Probabilities)
                {
                    double sum = LogSoftmax.LogSumExp(row);
                    foreach (ref float logit in row)
                    {
                        logit = (float)Math.Exp(logit - sum);
                    }
                }
            }

            return logits;
        })];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    // targets [batch, seq − 1]: the last position of each sequence has none.
    static GoldenLosses Losses(float[] logits, long[] targets, int seq, int vocab, int paddingId, double zLossFactor)
    {
        double crossEntropy = 0, z = 0;
        int valid = 0;
        for (int i = 0; i < targets.Length; i++)
        {
            if (targets[i] != paddingId)
            {
                int position = (i / (seq - 1) * seq) + (i % (seq - 1));
                ReadOnlySpan<float> row = logits.AsSpan(position * vocab, vocab);
                double sum = LogSoftmax.LogSumExp(row);
                crossEntropy += sum - row[(int)targets[i]];
                z += sum * sum;
                valid++;
            }
        }

        return new GoldenLosses(crossEntropy / valid, zLossFactor * z / valid);
    }
}
