using System.Runtime.InteropServices;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Inference;
using OpenElm.Inference.Sampling;

namespace OpenElm.Verification.Golden;

/// <summary>The inference module: logits, losses from its logits, samplers, and adapters merged as <c>openelm merge</c> does; no gradients and no training.</summary>
/// <param name="options">How models are opened; null takes the defaults.</param>
/// <param name="tokenByToken">Whether every token is fed alone, as generation does.</param>
public sealed class InferenceGoldenRuntime(InferenceOptions? options = null, bool tokenByToken = false) : IGoldenRuntime
{
    /// <inheritdoc/>
    public string Name => $"inference ({options?.Device?.Name ?? "cpu"}{(options?.Kernels is { } kernels ? $", {kernels}" : "")}{(tokenByToken ? ", token by token" : "")})";

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
            if (!tokenByToken)
            {
                runtime.ComputeLogits(ids, 0, logits.AsSpan(b * seq * vocab, seq * vocab));
                continue;
            }

            using SequenceState state = runtime.CreateState(seq);
            for (int i = 0; i < seq; i++)
            {
                runtime.Decode(ids[i], state, logits.AsSpan(((b * seq) + i) * vocab, vocab));
            }
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
    public GoldenAdapterOutput? RunAdapter(GoldenAdapter adapter)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        (int inputs, int outputs, int tokens) = (adapter.Inputs, adapter.Outputs, (int)adapter.X.Shape[0]);
        var module = new AdaptedModule(new AdaptableModule("linear", IsEmbedding: false, inputs, outputs)) { Rank = adapter.Rank, Alpha = adapter.Alpha, Dora = adapter.Magnitude is not null };
        var pins = new List<GCHandle>();
        try
        {
            var update = LowRankUpdate.Of([(new AdapterWeights(module, View(adapter.A), View(adapter.B), adapter.Magnitude is { } magnitude ? View(magnitude) : null), 1)]);
            double[] merged = Array.ConvertAll(adapter.Base.Values, value => (double)value);
            float[] y = new float[tokens * outputs];
            for (int o = 0; o < outputs; o++)
            {
                Span<double> row = merged.AsSpan(o * inputs, inputs);
                update.Apply(o, row);
                for (int t = 0; t < tokens; t++)
                {
                    double sum = 0;
                    for (int i = 0; i < inputs; i++)
                    {
                        sum += row[i] * adapter.X.Values[(t * inputs) + i];
                    }

                    y[(t * outputs) + o] = (float)sum;
                }
            }

            return new GoldenAdapterOutput(y, Array.ConvertAll(merged, value => (float)value));
        }
        finally
        {
            pins.ForEach(pin => pin.Free());
        }

        TensorView View(GoldenTensor tensor)
        {
            pins.Add(GCHandle.Alloc(tensor.Values, GCHandleType.Pinned));
            return new TensorView("golden", DType.F32, tensor.Shape, pins[^1].AddrOfPinnedObject(), tensor.Values.Length * sizeof(float));
        }
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
