using OpenElm.Configuration;

namespace OpenElm.Inference.Cuda.Tests;

/// <summary>The architecture with LayerNorm (weights, no bias) in the place of every RMSNorm: the formula, in double precision, position by position.</summary>
internal sealed class LayerNormReference(OpenElmConfig config, IReadOnlyDictionary<string, ReadOnlyMemory<float>> weights)
{
    readonly Dictionary<string, double[]> _weights = weights.ToDictionary(weight => weight.Key, weight => weight.Value.ToArray().Select(w => (double)w).ToArray());
    readonly List<(double[] Key, double[] Value)>[][] _past = [.. config.Layers.Select(shape => Enumerable.Range(0, shape.KvHeads).Select(_ => new List<(double[], double[])>()).ToArray())];

    /// <summary>Logits behind every token.</summary>
    /// <param name="tokens">[seq].</param>
    /// <returns>[seq, vocab].</returns>
    public float[] Logits(int[] tokens) => [.. tokens.SelectMany((token, position) => Step(token, position)).Select(logit => (float)logit)];

    double[] Step(int token, int position)
    {
        double[] x = _weights[TensorNames.Embedding].AsSpan(token * config.ModelDim, config.ModelDim).ToArray();
        for (int i = 0; i < config.Layers.Length; i++)
        {
            x = Add(x, Attend(i, Norm(x, TensorNames.Layer(i, "attn_norm")), position));
            x = Add(x, FeedForward(i, Norm(x, TensorNames.Layer(i, "ffn_norm"))));
        }

        return Multiply(config.ShareInputOutputLayers ? TensorNames.Embedding : TensorNames.Classifier, Norm(x, TensorNames.FinalNorm));
    }

    double[] Attend(int layer, double[] x, int position)
    {
        LayerShape shape = config.Layers[layer];
        double[][] heads = [.. Multiply(TensorNames.Layer(layer, "attn.qkv_proj"), x).Chunk(config.HeadDim)]; // queries, keys, values
        double[] Turned(double[] head, string norm) => Rotate(config.NormalizeQkProjections ? Norm(head, TensorNames.Layer(layer, norm)) : head, position);
        for (int kv = 0; kv < shape.KvHeads; kv++)
        {
            _past[layer][kv].Add((Turned(heads[shape.QueryHeads + kv], "attn.k_norm"), heads[shape.QueryHeads + shape.KvHeads + kv]));
        }

        var all = new List<double>();
        for (int query = 0; query < shape.QueryHeads; query++)
        {
            double[] q = Turned(heads[query], "attn.q_norm"), y = new double[config.HeadDim];
            List<(double[] Key, double[] Value)> past = _past[layer][query / config.QueryHeadsPerKvHead];
            double[] shares = [.. past.Select(p => Math.Exp(p.Key.Zip(q, (a, b) => a * b).Sum() / Math.Sqrt(config.HeadDim)))];
            for (int p = 0; p < past.Count; p++)
            {
                y = Add(y, [.. past[p].Value.Select(v => v * shares[p] / shares.Sum())]);
            }

            all.AddRange(y);
        }

        return Multiply(TensorNames.Layer(layer, "attn.out_proj"), [.. all]);
    }

    double[] FeedForward(int layer, double[] x)
    {
        double[] y = Multiply(TensorNames.Layer(layer, "ffn.proj_1"), x);
        int width = config.Layers[layer].FfnDim;
        double[] active = [.. y.Take(width).Select((gate, i) => gate / (1 + Math.Exp(-gate)) * (config.FfnWithGlu ? y[width + i] : 1))];
        return Multiply(TensorNames.Layer(layer, "ffn.proj_2"), active);
    }

    double[] Norm(double[] x, string name)
    {
        double mean = x.Average(), scale = 1 / Math.Sqrt(x.Average(e => (e - mean) * (e - mean)) + config.RmsNormEps);
        double[] w = _weights[name];
        return [.. x.Select((e, i) => (e - mean) * scale * w[i])];
    }

    double[] Rotate(double[] x, int position)
    {
        int half = x.Length / 2;
        double[] y = new double[x.Length];
        for (int i = 0; i < half; i++)
        {
            (double sin, double cos) = Math.SinCos(position * Math.Pow(config.RopeFreqConstant, -2.0 * i / x.Length));
            (y[i], y[i + half]) = ((x[i] * cos) - (x[i + half] * sin), (x[i + half] * cos) + (x[i] * sin));
        }

        return y;
    }

    double[] Multiply(string matrix, double[] x) => [.. _weights[matrix].Chunk(x.Length).Select(row => row.Zip(x, (a, b) => a * b).Sum())];

    static double[] Add(double[] a, double[] b) => [.. a.Zip(b, (p, q) => p + q)];
}
