using System.Numerics.Tensors;
using OpenElm.Configuration;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Generation.Speculation;

/// <summary>A smaller model of the same vocabulary that guesses by itself; it keeps its own state between guesses.</summary>
internal sealed class DraftModel : IProposer, IDisposable
{
    /// <summary>Guesses a pass begins with, as in transformers 4.39.</summary>
    public const int FirstProposals = 5;

    readonly OpenElmModel _model;
    readonly FedTokens _fed;
    readonly int _candidates, _eos;
    readonly float[] _logits;
    float[] _probabilities = [];
    Chain _processors = new([]);
    Random? _random;
    ConstraintWalk? _outputWalk, _walk;

    /// <summary>Prepares the draft of a model.</summary>
    /// <param name="model">The model that verifies.</param>
    /// <param name="draft">The model that guesses.</param>
    /// <exception cref="OpenElmException">Their vocabularies differ.</exception>
    public DraftModel(TextModel model, TextModel draft)
    {
        CheckVocabulary(model, draft);
        (_model, _candidates, _eos) = (draft.Model, model.Candidates, model.EosId);
        _fed = new FedTokens(_model);
        _logits = new float[_model.Config.VocabSize];
        Cost = (double)ParameterCount.Of(_model.Config).Total / ParameterCount.Of(model.Model.Config).Total; // decoding reads every weight once
    }

    /// <inheritdoc/>
    public double Cost { get; }

    /// <summary>Begins a run.</summary>
    /// <param name="options">Of the run: guesses are processed and drawn as its tokens are.</param>
    /// <param name="promptLength">Where its output begins.</param>
    /// <param name="capacity">Its longest sequence.</param>
    /// <param name="random">Its draws; null where it is greedy.</param>
    /// <param name="walk">Where its output stands in its constraint; null without one.</param>
    public void Begin(SamplingOptions options, int promptLength, int capacity, Random? random, ConstraintWalk? walk)
    {
        (_processors, _random, _outputWalk, _walk) = (options.CreateProcessors(promptLength), random, walk, walk?.Copy());
        _fed.Reserve(Math.Min(capacity, _model.MaxLength));
        if (random is not null && _probabilities.Length == 0)
        {
            _probabilities = new float[SpeculationPace.MostProposals * _candidates];
        }
    }

    /// <inheritdoc/>
    public int Propose(Span<int> sequence, int length, int count)
    {
        count = Math.Min(count, _model.MaxLength - length + 1); // the last guess is not fed
        if (count < 1)
        {
            return 0;
        }

        _walk?.CopyFrom(_outputWalk!);
        int unfed = _fed.KeepPrefixOf(sequence[..length]);
        for (int i = 0; i < count; i++)
        {
            _fed.Feed(sequence[unfed..(length + i)], 1, _logits);
            unfed = length + i;
            int token = Guess(sequence[..unfed], i);
            sequence[unfed] = token;
            if (token == _eos)
            {
                return i + 1;
            }

            _walk?.Advance(token);
            if (_walk is { IsComplete: true })
            {
                return i + 1;
            }
        }

        return count;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<float> Probabilities(int index) => _random is null ? [] : _probabilities.AsSpan(index * _candidates, _candidates);

    /// <inheritdoc/>
    public void Dispose() => _fed.Dispose();

    int Guess(ReadOnlySpan<int> tokens, int index)
    {
        Span<float> logits = _logits.AsSpan(0, _candidates);
        _walk?.Mask(logits);
        _processors.Apply(tokens, logits);
        if (_random is null)
        {
            return TensorPrimitives.IndexOfMax<float>(logits);
        }

        Span<float> probabilities = _probabilities.AsSpan(index * _candidates, _candidates);
        double sum = Distribution.Weigh(logits);
        TensorPrimitives.Multiply(logits, (float)(1 / sum), probabilities);
        return Distribution.Draw(logits, sum, _random);
    }

    static void CheckVocabulary(TextModel model, TextModel draft)
    {
        if (draft.Model.Config.VocabSize < model.Candidates)
        {
            throw new OpenElmException($"The draft model has {draft.Model.Config.VocabSize} rows, the model {model.Candidates} tokens; take a draft model of the same vocabulary.");
        }

        if (model.Tokenizer is { } tokenizer && draft.Tokenizer is { } other
            && (tokenizer.PieceCount != other.PieceCount || Enumerable.Range(0, tokenizer.PieceCount).Any(id => tokenizer.PieceOf(id) != other.PieceOf(id))))
        {
            throw new OpenElmException("The tokenizers of the model and of the draft model differ; take a draft model of the same vocabulary.");
        }
    }
}
