using System.Collections.Immutable;
using System.Numerics.Tensors;
using OpenElm.Quantization;

namespace OpenElm.Inference.Calibration;

/// <summary>
/// Runs a model on a text and collects the importance of every matrix's columns, the mean square of what they are multiplied
/// with, and the largest activation, which tells whether 16-bit programs overflow.
/// </summary>
public sealed class ImportanceCollector : IActivationObserver
{
    readonly Dictionary<string, double[]> _squares = [];
    readonly string _cause;
    long _tokens;

    ImportanceCollector(OpenElmModel model) => _cause = model.CauseOfOverflow;

    /// <summary>What was found so far.</summary>
    Calibration Result => new(new ImportanceWeights(
        _squares.ToImmutableDictionary(pair => pair.Key, pair => pair.Value.Select(sum => (float)(sum / _tokens)).ToImmutableArray()), _tokens), LargestActivation, LargestPlace);

    float LargestActivation { get; set; }

    string LargestPlace { get; set; } = "";

    /// <summary>Collects from one text.</summary>
    /// <param name="model">The model; not in use by others meanwhile.</param>
    /// <param name="tokens">[seq], without BOS.</param>
    /// <param name="window">Tokens the model sees at once; null takes <c>max_context_length</c>.</param>
    /// <param name="progress">Told after each window how many tokens were seen.</param>
    /// <param name="cancellation">Stops between two windows.</param>
    /// <returns>What was found.</returns>
    /// <exception cref="OpenElmException">There is no token, or activations are no numbers.</exception>
    public static Calibration Collect(OpenElmModel model, ReadOnlySpan<int> tokens, int? window = null, Action<long>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (tokens.IsEmpty)
        {
            throw new OpenElmException("The calibration text has no tokens.");
        }

        int length = Math.Min(window ?? model.Config.MaxContextLength, model.MaxLength) - 1; // BOS leads each window
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1, nameof(window));
        var collector = new ImportanceCollector(model);
        model.Observer = collector;
        try
        {
            using SequenceState state = model.CreateState(Math.Min(length, tokens.Length) + 1);
            for (; !tokens.IsEmpty; tokens = tokens[Math.Min(length, tokens.Length)..])
            {
                cancellation.ThrowIfCancellationRequested();
                collector.Run(model, state, [model.Config.BosTokenId, .. tokens[..Math.Min(length, tokens.Length)]]);
                progress?.Invoke(collector._tokens);
            }
        }
        finally
        {
            model.Observer = null;
        }

        return collector.Result;
    }

    /// <inheritdoc/>
    void IActivationObserver.ObserveProduct(string weight, ReadOnlySpan<float> x, int width)
    {
        if (!_squares.TryGetValue(weight, out double[]? sums))
        {
            _squares.Add(weight, sums = new double[width]);
        }

        for (int at = 0; at < x.Length; at += width)
        {
            ReadOnlySpan<float> row = x.Slice(at, width);
            for (int i = 0; i < sums.Length; i++)
            {
                sums[i] += (double)row[i] * row[i];
            }
        }

        Watch(x, weight);
    }

    /// <inheritdoc/>
    void IActivationObserver.ObserveResidual(int layer, ReadOnlySpan<float> x) => Watch(x, $"the residual stream after layer {layer}");

    // The head is a matrix too: it is multiplied with every token, in pieces that bound the memory of logits.
    void Run(OpenElmModel model, SequenceState state, ReadOnlySpan<int> tokens)
    {
        const int rows = 64;
        state.Truncate(0);
        float[] logits = new float[rows * model.Config.VocabSize];
        for (; !tokens.IsEmpty; tokens = tokens[Math.Min(rows, tokens.Length)..])
        {
            ReadOnlySpan<int> run = tokens[..Math.Min(rows, tokens.Length)];
            model.Forward(run, state, run.Length, logits);
            _tokens += run.Length;
        }
    }

    void Watch(ReadOnlySpan<float> x, string place)
    {
        float largest = TensorPrimitives.MaxMagnitude(x); // NaN if there is one
        if (!float.IsFinite(largest))
        {
            throw new OpenElmException($"The model gave activations that are no numbers at {place}; {_cause}.");
        }

        if (MathF.Abs(largest) > LargestActivation)
        {
            (LargestActivation, LargestPlace) = (MathF.Abs(largest), place);
        }
    }
}
