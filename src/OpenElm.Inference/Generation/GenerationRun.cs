using System.Numerics.Tensors;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation.Speculation;
using OpenElm.Inference.Sampling;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Generation;

/// <summary>One output: enumerate it once, as tokens or as text, then read how it went.</summary>
public sealed class GenerationRun
{
    readonly GenerationSession _session;
    readonly TextModel _model;
    readonly GenerationOptions _options;
    readonly int[] _sequence; // prompt, output, and behind them what is proposed
    readonly int _promptLength;
    int _length;
    bool _started;
    TimeSpan _toFirst, _total;
    ISampler _sampler = null!;
    Speculator? _speculator;
    ConstraintWalk? _walk;
    DrawRule? _rule;
    bool _choosesAhead;

    internal GenerationRun(GenerationSession session, ReadOnlySpan<int> prompt, GenerationOptions options)
    {
        (_session, _model, _options) = (session, session.Model, options);
        _sequence = new int[(int)Math.Min(_model.Model.MaxLength + 1L, (long)prompt.Length + options.MaxTokens)];
        prompt.CopyTo(_sequence);
        _promptLength = _length = prompt.Length;
    }

    /// <summary>The prompt.</summary>
    public ReadOnlyMemory<int> Prompt => _sequence.AsMemory(0, _promptLength);

    /// <summary>What was generated so far.</summary>
    public ReadOnlyMemory<int> Output => _sequence.AsMemory(_promptLength, _length - _promptLength);

    /// <summary>Why it ended.</summary>
    public FinishReason FinishReason { get; private set; }

    /// <summary>How fast it was.</summary>
    public GenerationRates Rates => new(_promptLength, _length - _promptLength, _toFirst, _total);

    /// <summary>Tokens of the prompt that the session had fed before and that were not fed again.</summary>
    public int ReusedTokens { get; private set; }

    /// <summary>What speculation did; zeros without it.</summary>
    public SpeculationCounts Speculation => _speculator?.Counts ?? default;

    /// <summary>Generates token ids; the id that ends a sequence is not among them. Allocates nothing per token.</summary>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Ids as they come.</returns>
    public IEnumerable<int> Tokens(CancellationToken cancellation = default)
    {
        if (_started)
        {
            throw new InvalidOperationException("A run is enumerated once.");
        }

        (_started, _session.Running) = (true, this);
        long start = _session.Time.GetTimestamp();
        Begin();
        float[]? logits = null;
        while (!IsComplete())
        {
            RequireTurn(cancellation);
            if (_length > _promptLength && BeginChain() is { } chain)
            {
                using (chain)
                {
                    foreach (int token in Follow(chain, start, cancellation))
                    {
                        yield return token;
                    }
                }

                yield break;
            }

            if (_length == _promptLength && ChooseFirst() is { } first)
            {
                if (Ends(first, start))
                {
                    yield break;
                }

                _sequence[_length++] = first;
                yield return first;
                continue;
            }

            logits ??= GC.AllocateUninitializedArray<float>((_speculator is null ? 1 : SpeculationPace.MostProposals + 1) * _model.Model.Config.VocabSize);

            // The token behind the last proposal comes from the same pass, so there is room for one less.
            int proposed = _speculator?.Propose(_sequence, _length, _sequence.Length - _length - 1) ?? 0;
            Feed(proposed, logits);
            int accepted = 0;
            for (int row = 0; row <= proposed; row++)
            {
                int proposal = row < proposed ? _sequence[_length] : -1;
                int token = Choose(logits.AsSpan(row * _model.Model.Config.VocabSize, _model.Candidates), proposal, row);
                accepted += token == proposal ? 1 : 0;
                if (Ends(token, start))
                {
                    _speculator?.Report(proposed, accepted);
                    yield break;
                }

                _sequence[_length++] = token;
                _walk?.Advance(token);
                yield return token;
                if (IsComplete())
                {
                    _speculator?.Report(proposed, accepted);
                    yield break;
                }

                if (token != proposal)
                {
                    break; // the proposals behind it continue another text
                }
            }

            _speculator?.Report(proposed, accepted);
        }
    }

    // The most likely token behind the prompt, from a model that chooses for itself.
    int? ChooseFirst()
    {
        if (!_choosesAhead || _rule is not null)
        {
            return null;
        }

        int kept = _session.Fed.KeepPrefixOf(_sequence.AsSpan(0, _length));
        int? token = _session.Fed.Choose(_sequence.AsSpan(kept, _length - kept), _model.Candidates, out float logit);
        if (token is not null)
        {
            ReusedTokens = kept;
            CheckFinite(logit);
        }

        return token;
    }

    // Behind the prompt's first token a model that chooses for itself needs no logits on the host.
    TokenChain? BeginChain()
    {
        if (!_choosesAhead)
        {
            return null;
        }

        _session.Fed.KeepPrefixOf(_sequence.AsSpan(0, _length));
        TokenChain? chain = _session.Fed.Begin(_sequence[_length - 1], _model.Candidates, _rule);
        _choosesAhead = chain is not null;
        return chain;
    }

    IEnumerable<int> Follow(TokenChain chain, long start, CancellationToken cancellation)
    {
        while (!IsComplete())
        {
            RequireTurn(cancellation);
            int token = _session.Fed.Next(chain, _sequence[_length - 1], out float logit);
            CheckFinite(logit);
            if (token < 0)
            {
                throw Distribution.OutOfRange();
            }

            if (Ends(token, start))
            {
                yield break;
            }

            _sequence[_length++] = token;
            yield return token;
        }
    }

    void RequireTurn(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        if (_session.Running != this)
        {
            throw new InvalidOperationException("Another run of the session has begun; a session generates one output at a time.");
        }
    }

    // Notes the time of the next token, and whether it is the output's end.
    bool Ends(int token, long start)
    {
        _total = _session.Time.GetElapsedTime(start);
        _toFirst = _length == _promptLength ? _total : _toFirst;
        FinishReason = _options.EndOf(token, _model.EosId);
        return FinishReason != FinishReason.None;
    }

    /// <summary>Generates text, in parts that never break a character and never hold a beginning of a stop text.</summary>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Parts as they come; together they are the output.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer.</exception>
    public IEnumerable<string> Text(CancellationToken cancellation = default)
    {
        StreamingDecoder decoder = _model.DecodePrompt(Prompt.Span);
        return Parts();

        IEnumerable<string> Parts()
        {
            var filter = new StopTextFilter(_options.Stop);
            foreach (int token in Tokens(cancellation))
            {
                if (filter.Append(decoder.Append(token)) is { Length: > 0 } part)
                {
                    yield return part;
                }

                if (filter.Stopped)
                {
                    FinishReason = FinishReason.StopText;
                    yield break;
                }
            }

            string end = filter.Append(decoder.Flush());
            if (end + filter.Flush() is { Length: > 0 } rest)
            {
                yield return rest;
            }
        }
    }

    void Begin()
    {
        int capacity = Math.Min(_sequence.Length, _model.Model.MaxLength);
        _session.Fed.Reserve(capacity);
        _sampler = _options.Sampling.CreateSampler(_promptLength);
        _walk = _options.Constraint is { } constraint ? new ConstraintWalk(_model.MasksOf(constraint), _model.DecodePrompt(Prompt.Span).IsAtStart) : null;
        _rule = _options.Sampling.RuleOf(_sampler);
        _choosesAhead = (_rule is not null || _options.Sampling.IsPlainlyGreedy) && _walk is null && _session.Draft is null && _options.PromptLookup == 0;
        if (_session.Draft is { } draft)
        {
            draft.Begin(_options.Sampling, _promptLength, capacity, (_sampler as RandomDraw)?.Random, _walk);
            _speculator = new(draft, new SpeculationPace(DraftModel.FirstProposals, adapts: true, draft.Cost));
        }
        else if (_options.PromptLookup > 0)
        {
            _speculator = new(new PromptLookup(_model.EosId), new SpeculationPace(_options.PromptLookup, adapts: false, proposalCost: 0));
        }
    }

    // Feeds what the state does not hold yet and the proposals: logits [proposed + 1, vocab].
    void Feed(int proposed, Span<float> logits)
    {
        int kept = _session.Fed.KeepPrefixOf(_sequence.AsSpan(0, _length));
        ReusedTokens = _length == _promptLength ? kept : ReusedTokens;
        _session.Fed.Feed(_sequence.AsSpan(kept, _length + proposed - kept), proposed + 1, logits);
    }

    // Rows that only pad are no candidates: logits [candidates].
    int Choose(Span<float> logits, int proposal, int row)
    {
        CheckFinite(TensorPrimitives.Max<float>(logits));
        _walk?.Mask(logits);
        ReadOnlySpan<int> tokens = _sequence.AsSpan(0, _length);
        // A guess that was not drawn is a distribution with one token: drawing as usual and comparing is the same rule.
        return proposal >= 0 && _sampler is RandomDraw draw && _speculator!.Probabilities(row) is { IsEmpty: false } drawnFrom
            ? draw.Verify(tokens, logits, proposal, drawnFrom)
            : _sampler.Sample(tokens, logits);
    }

    void CheckFinite(float largest)
    {
        if (!float.IsFinite(largest))
        {
            throw new OpenElmException($"The model gave logits that are no numbers after {_length} tokens; {_model.Model.CauseOfOverflow}.");
        }
    }

    // Whether the constraint or the length ends the output here.
    bool IsComplete()
    {
        FinishReason = _walk is { IsComplete: true } ? FinishReason.Complete
            : _length < _sequence.Length ? FinishReason.None
            : _length - _promptLength == _options.MaxTokens ? FinishReason.MaxTokens : FinishReason.LengthLimit;
        return FinishReason != FinishReason.None;
    }
}
