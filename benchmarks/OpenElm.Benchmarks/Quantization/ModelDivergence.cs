using System.Numerics.Tensors;
using OpenElm.Inference;

namespace OpenElm.Benchmarks.Quantization;

/// <summary>What quantised files make of a text, beside the model they come from: all see the same windows, which do not overlap, each led by BOS.</summary>
internal sealed class ModelDivergence : IDisposable
{
    const int Rows = 64;

    readonly TextModel _before;
    readonly int[] _tokens;
    readonly int _window;

    public ModelDivergence(string before, string text, int tokens)
    {
        _before = TextModel.Load(before);
        _window = _before.Model.Config.MaxContextLength / Rows * Rows;
        int[] all = _before.RequireTokenizer("The comparison").Encode(File.ReadAllText(text));
        _tokens = all[..(Math.Min(tokens, all.Length) / _window * _window)];
    }

    /// <summary>Tokens that are predicted.</summary>
    public int Tokens => _tokens.Length;

    /// <summary>e^(mean loss) of the model before.</summary>
    public double PerplexityBefore { get; private set; }

    /// <summary>Runs files beside the model before.</summary>
    public Divergence[] Of(params string[] paths)
    {
        TextModel[] models = [.. paths.Select(path => TextModel.Load(path))];
        Divergence[] results = [.. paths.Select(_ => new Divergence([]))];
        double lossBefore = 0;
        for (int at = 0; at < _tokens.Length; at += _window)
        {
            int[] seen = [_before.Model.Config.BosTokenId, .. _tokens[at..(at + _window - 1)]];
            using SequenceState state = _before.Model.CreateState(_window);
            SequenceState[] states = [.. models.Select(model => model.Model.CreateState(_window))];
            for (int row = 0; row < _window; row += Rows)
            {
                float[][] expected = LogProbabilities(_before.Model, seen, row, state);
                for (int i = 0; i < Rows; i++)
                {
                    lossBefore -= expected[i][_tokens[at + row + i]];
                }

                for (int k = 0; k < models.Length; k++)
                {
                    float[][] actual = LogProbabilities(models[k].Model, seen, row, states[k]);
                    for (int i = 0; i < Rows; i++)
                    {
                        results[k].Add(expected[i], actual[i], _tokens[at + row + i]);
                    }
                }
            }

            Array.ForEach(states, one => one.Dispose());
        }

        Array.ForEach(models, model => model.Dispose());
        PerplexityBefore = Math.Exp(lossBefore / _tokens.Length);
        return results;
    }

    public void Dispose() => _before.Dispose();

    static float[][] LogProbabilities(OpenElmModel model, int[] tokens, int first, SequenceState state)
    {
        int vocab = model.Config.VocabSize;
        float[] logits = new float[Rows * vocab];
        model.Forward(tokens.AsSpan(first, Rows), state, Rows, logits);
        return [.. Enumerable.Range(0, Rows).Select(row =>
        {
            float[] one = logits[(row * vocab)..((row + 1) * vocab)];
            float largest = one.Max();
            double sum = one.Sum(logit => Math.Exp(logit - largest));
            TensorPrimitives.Subtract(one, largest + (float)Math.Log(sum), one);
            return one;
        })];
    }
}

/// <summary>Sums over the positions of a text.</summary>
/// <param name="Losses">The loss at each position.</param>
internal sealed record Divergence(List<double> Losses)
{
    double _divergence;
    int _same;

    public double Perplexity => Math.Exp(Losses.Average());

    /// <summary>Mean Kullback–Leibler divergence of the prediction from that of the model before, in nats.</summary>
    public double MeanDivergence => _divergence / Losses.Count;

    public double Agreement => (double)_same / Losses.Count;

    public void Add(float[] expected, float[] actual, int target)
    {
        Losses.Add(-actual[target]);
        _divergence += expected.Zip(actual, (e, a) => Math.Exp(e) * (e - a)).Sum();
        _same += TensorPrimitives.IndexOfMax(expected) == TensorPrimitives.IndexOfMax(actual) ? 1 : 0;
    }

    /// <summary>How much larger the mean loss is than another's on the same text, and the standard error of that difference.</summary>
    public (double Mean, double StandardError) LossAbove(Divergence other)
    {
        double[] differences = [.. Losses.Zip(other.Losses, (a, b) => a - b)];
        double mean = differences.Average();
        return (mean, Math.Sqrt(differences.Average(d => (d - mean) * (d - mean)) / differences.Length));
    }
}
