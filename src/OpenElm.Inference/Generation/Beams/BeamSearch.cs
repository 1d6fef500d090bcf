using System.Numerics.Tensors;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Generation.Beams;

/// <summary>
/// Beam search, deterministic, with the rules of transformers: of all beams and all tokens the best sums of log-probabilities
/// go on; a beam that ends is an output if it is among the best as many as there are beams.
/// </summary>
public sealed class BeamSearch
{
    readonly TextModel _model;
    readonly BeamOptions _options;
    readonly Chain _processors;
    readonly FinishedOutputs _finished;
    readonly BestCandidates _best;
    readonly int _promptLength, _longest;
    readonly ConstraintWalk? _walk;

    BeamSearch(TextModel model, ReadOnlySpan<int> prompt, BeamOptions options)
    {
        (_model, _options, _promptLength) = (model, options, prompt.Length);
        _longest = (int)Math.Min(model.Model.MaxLength + 1L, (long)prompt.Length + options.Generation.MaxTokens);
        _walk = options.Generation.Constraint is { } constraint ? new ConstraintWalk(model.MasksOf(constraint), model.DecodePrompt(prompt).IsAtStart) : null;
        _processors = options.Generation.Sampling.CreateProcessors(prompt.Length);
        _finished = new FinishedOutputs(options);
        // Every end may take a place of one that goes on: so many candidates leave enough of those.
        int ends = options.Generation.StopTokens.Length + (options.Generation.IgnoreEos ? 0 : 1);
        _best = new BestCandidates(options.Beams * Math.Max(2, 1 + ends));
    }

    /// <summary>Searches the continuations of a text. BOS is put in front.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prompt">The prompt; may be empty.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Outputs, the best first.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer, the prompt is too long, or an option is impossible.</exception>
    public static IReadOnlyList<BeamOutput> Run(TextModel model, string prompt, BeamOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Run(model, model.EncodePrompt(prompt), options, cancellation);
    }

    /// <summary>Searches the continuations of token ids.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prompt">[seq], at least one id.</param>
    /// <param name="options">How; null takes the defaults.</param>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Outputs, the best first; at most as many as there are beams.</returns>
    /// <exception cref="OpenElmException">The prompt is empty or too long, or an option is impossible.</exception>
    public static IReadOnlyList<BeamOutput> Run(TextModel model, ReadOnlyMemory<int> prompt, BeamOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        options = (options ?? new BeamOptions()).ValidatedFor(model);
        model.CheckPrompt(prompt.Span);
        return new BeamSearch(model, prompt.Span, options).Search(prompt.Span, cancellation);
    }

    IReadOnlyList<BeamOutput> Search(ReadOnlySpan<int> prompt, CancellationToken cancellation)
    {
        var all = new List<Beam>();
        try
        {
            Beam first = NewBeam(all);
            first.Begin(prompt);
            for (List<Beam> beams = [first]; beams.Count > 0;)
            {
                cancellation.ThrowIfCancellationRequested();
                IReadOnlyList<Candidate> candidates = Candidates(beams);
                List<Candidate> next = TakeEnds(beams, candidates);
                int length = beams[0].Length + 1;
                bool done = candidates.Count == 0 || _finished.IsDone(candidates[0].LogProbability, length - _promptLength);
                beams = done ? [] : Continue(beams, next, all);
                if (length == _longest)
                {
                    FinishReason reason = length - _promptLength == _options.Generation.MaxTokens ? FinishReason.MaxTokens : FinishReason.LengthLimit;
                    beams.ForEach(beam => _finished.Add(beam.Output(_promptLength), beam.LogProbability, length - _promptLength, reason));
                    break;
                }

                beams.ForEach(beam => beam.Feed());
            }

            return _finished.BestFirst;
        }
        finally
        {
            all.ForEach(beam => beam.Dispose());
        }
    }

    // Processors see log-probabilities, as in transformers.
    IReadOnlyList<Candidate> Candidates(List<Beam> beams)
    {
        _best.Clear();
        for (int i = 0; i < beams.Count; i++)
        {
            Span<float> scores = beams[i].Logits.AsSpan(0, _model.Candidates);
            if (!float.IsFinite(TensorPrimitives.Max<float>(scores)))
            {
                throw new OpenElmException($"The model gave logits that are no numbers after {beams[i].Length} tokens; {_model.Model.CauseOfOverflow}.");
            }

            BestCandidates.Normalize(scores);
            beams[i].Walk?.Mask(scores);
            _processors.Apply(beams[i].Tokens, scores);
            _best.Offer(i, beams[i].LogProbability, scores);
        }

        return _best.BestFirst();
    }

    // Candidates that end become outputs if they are among the best; returns those that go on.
    List<Candidate> TakeEnds(List<Beam> beams, IReadOnlyList<Candidate> candidates)
    {
        var next = new List<Candidate>(_options.Beams);
        for (int rank = 0; rank < candidates.Count && next.Count < _options.Beams; rank++)
        {
            Candidate candidate = candidates[rank];
            FinishReason reason = _options.Generation.EndOf(candidate.Token, _model.EosId);
            if (reason == FinishReason.None)
            {
                next.Add(candidate);
            }
            else if (rank < _options.Beams)
            {
                Beam beam = beams[candidate.Beam];
                _finished.Add(beam.Output(_promptLength), candidate.LogProbability, beam.Length + 1 - _promptLength, reason);
            }
        }

        return next;
    }

    // The first candidate of a beam takes the beam over, the others take copies, in beams that have no candidate.
    List<Beam> Continue(List<Beam> beams, List<Candidate> next, List<Beam> all)
    {
        var taken = new HashSet<int>(next.Select(candidate => candidate.Beam));
        var free = new Queue<Beam>(all.Except(taken.Select(index => beams[index])));
        Beam[] continued = new Beam[next.Count];
        for (int i = next.Count - 1; i >= 0; i--)
        {
            bool isFirst = !next.Take(i).Any(other => other.Beam == next[i].Beam);
            Beam parent = beams[next[i].Beam];
            continued[i] = isFirst ? parent : free.TryDequeue(out Beam? beam) ? beam : NewBeam(all);
            if (!isFirst)
            {
                continued[i].CopyFrom(parent, _promptLength);
            }
        }

        for (int i = 0; i < next.Count; i++)
        {
            continued[i].Append(next[i]);
        }

        return [.. continued];
    }

    Beam NewBeam(List<Beam> all)
    {
        var beam = new Beam(_model, _longest, _walk);
        all.Add(beam);
        return beam;
    }
}
