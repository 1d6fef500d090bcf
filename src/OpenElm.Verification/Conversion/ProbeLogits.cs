using OpenElm.Configuration;

namespace OpenElm.Verification.Conversion;

/// <summary>The logits of a model for fixed tokens, kept to compare another model with: two large ones need not be in memory at one time.</summary>
public sealed class ProbeLogits
{
    // Positions far apart tell a wrong RoPE base, several sequences a wrong row of the embedding.
    static readonly int[] Lengths = [64, 24, 8];

    readonly int _vocab;
    readonly int[][] _probes;
    readonly float[][] _logits;

    ProbeLogits(ICausalLM source, int vocab)
    {
        _vocab = vocab;
        _probes = [.. Lengths.Select((length, i) => Probe(source.Config, vocab, Math.Min(length, source.Config.MaxContextLength), i))];
        _logits = [.. _probes.Select(probe => Run(source, probe))];
    }

    /// <summary>Runs a model.</summary>
    /// <param name="source">The model.</param>
    /// <param name="vocab">Rows of the vocabulary that the other model has; null for all.</param>
    /// <returns>Its logits.</returns>
    public static ProbeLogits Of(ICausalLM source, int? vocab = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        return new ProbeLogits(source, vocab ?? source.Config.VocabSize);
    }

    /// <summary>Runs another model and compares.</summary>
    /// <param name="other">The model, with as many rows of the vocabulary as were asked for.</param>
    /// <returns>The figures.</returns>
    public LogitErrors Compare(ICausalLM other)
    {
        ArgumentNullException.ThrowIfNull(other);
        double max = 0, sum = 0, squares = 0, spread = 0;
        int positions = 0, agreed = 0;
        foreach ((int[] probe, float[] expected) in _probes.Zip(_logits))
        {
            float[] actual = Run(other, probe);
            for (int at = 0; at < expected.Length; at += _vocab, positions++)
            {
                ReadOnlySpan<float> a = expected.AsSpan(at, _vocab), b = actual.AsSpan(at, _vocab);
                agreed += ArgMax(a) == ArgMax(b) ? 1 : 0;
                spread += Variance(a);
                for (int i = 0; i < _vocab; i++)
                {
                    double error = Math.Abs((double)a[i] - b[i]);
                    max = error > max || double.IsNaN(error) ? error : max; // a NaN stays
                    sum += error;
                    squares += error * error;
                }
            }
        }

        double count = (double)positions * _vocab;
        return new LogitErrors(positions, max, sum / count, squares == 0 ? 0 : Math.Sqrt(squares / count / (spread / positions)), (double)agreed / positions);
    }

    float[] Run(ICausalLM model, int[] probe)
    {
        int rows = model.Config.VocabSize;
        float[] logits = new float[probe.Length * rows];
        model.ComputeLogits(probe, 0, logits);
        if (rows == _vocab)
        {
            return logits;
        }

        float[] kept = new float[probe.Length * _vocab];
        for (int position = 0; position < probe.Length; position++)
        {
            logits.AsSpan(position * rows, _vocab).CopyTo(kept.AsSpan(position * _vocab));
        }

        return kept;
    }

    // The beginning of a sequence, then ids of a fixed random sequence.
    static int[] Probe(OpenElmConfig config, int vocab, int length, int index)
    {
        var random = new Random(1000 + index);
        int[] tokens = [.. Enumerable.Range(0, length).Select(_ => random.Next(vocab))];
        tokens[0] = Math.Min(config.BosTokenId, vocab - 1);
        return tokens;
    }

    static int ArgMax(ReadOnlySpan<float> row)
    {
        int best = 0;
        for (int i = 1; i < row.Length; i++)
        {
            best = row[i] > row[best] ? i : best;
        }

        return best;
    }

    static double Variance(ReadOnlySpan<float> row)
    {
        double sum = 0, squares = 0;
        foreach (float value in row)
        {
            sum += value;
            squares += (double)value * value;
        }

        double mean = sum / row.Length;
        return Math.Max(0, (squares / row.Length) - (mean * mean));
    }
}
