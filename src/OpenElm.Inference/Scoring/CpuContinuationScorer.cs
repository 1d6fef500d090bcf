using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Scoring;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Scoring;

/// <summary>
/// Scores continuations on the CPU runtime, each token once where that is possible: a context is run once for all its continuations, its last logits give
/// their first tokens, and what a context shares with one before it is copied instead of computed. Contexts and continuations of many groups go
/// through the model together, so that each pass over the weights serves hundreds of tokens. Scores are those of <see cref="Scorer"/>, bit by bit,
/// whatever the order and the company. Not for two threads at once.
/// </summary>
public sealed class CpuContinuationScorer : IContinuationScorer
{
    // Logits of so many rows are in memory at a time: 256 · 32000 floats are 33 MB.
    const int MostLogits = 256;

    // Contexts of a batch fill so many passes, so that the last pass, which is seldom full, counts little.
    const int PassesOfContexts = 4;

    // A copy takes as long as about one token; waiting for another context costs a pass that is not full.
    const int WorthCopying = 4, WorthWaiting = 8;

    readonly OpenElmModel _model;
    readonly int _candidates;
    readonly PackedPass _pass;
    readonly int _rowsAtATime;
    readonly long _stateBytes;
    Begun? _kept; // the last context, for the next call

    /// <summary>Prepares to score.</summary>
    /// <param name="model">The model; not disposed here.</param>
    /// <param name="tokenizer">Its tokenizer, or null where all rows of the vocabulary count.</param>
    /// <param name="maxLength">Tokens that a sequence may have; null takes <c>max_context_length</c>.</param>
    /// <exception cref="OpenElmException">The tokenizer has more pieces than the model has rows, or sequences may not be so long.</exception>
    public CpuContinuationScorer(OpenElmModel model, SentencePieceTokenizer? tokenizer, int? maxLength = null)
        : this(model, tokenizer, maxLength, ForwardPass.MostRows, 256L << 20)
    {
    }

    /// <summary>Prepares to score with other limits than usual.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer, or null.</param>
    /// <param name="maxLength">Tokens that a sequence may have; null takes <c>max_context_length</c>.</param>
    /// <param name="rowsAtATime">Tokens of a pass.</param>
    /// <param name="stateBytes">Bytes that keys and values of a batch may take; one group may take more.</param>
    internal CpuContinuationScorer(OpenElmModel model, SentencePieceTokenizer? tokenizer, int? maxLength, int rowsAtATime, long stateBytes)
    {
        ArgumentNullException.ThrowIfNull(model);
        MaxLength = maxLength ?? Math.Min(model.Config.MaxContextLength, model.MaxLength);
        if (MaxLength < 1 || MaxLength > model.MaxLength)
        {
            throw new OpenElmException($"Sequences of {MaxLength} tokens are impossible; the limit is 1 to {model.MaxLength} (rope_max_length).");
        }

        (_model, _candidates, _rowsAtATime, _stateBytes) = (model, TextModel.CandidateCount(model, tokenizer), rowsAtATime, stateBytes);
        _pass = new PackedPass(model, _candidates, rowsAtATime, Math.Min(rowsAtATime, MostLogits));
    }

    /// <inheritdoc/>
    public OpenElmConfig Config => _model.Config;

    /// <inheritdoc/>
    public int MaxLength { get; }

    /// <inheritdoc/>
    public long TokensComputed => _pass.TokensComputed;

    /// <summary>A context that is in a state, or will be after the next pass.</summary>
    sealed record Begun(GroupTally Tally, SequenceState State)
    {
        /// <summary>Copies of the context, so that several of its continuations can go in one pass.</summary>
        public List<SequenceState> Copies { get; } = [];

        public ImmutableArray<int> Context => Tally.Group.Context;

        public void DisposeCopies() => Copies.ForEach(copy => copy.Dispose());
    }

    /// <inheritdoc/>
    public void Score(IReadOnlyList<ContinuationGroup> groups, Action<int, ImmutableArray<ContinuationScore>> scored, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scored);
        ContinuationGroupRules.Check(groups, MaxLength, _candidates);
        for (int first = 0, end; first < groups.Count; first = end)
        {
            end = EndOfBatch(groups, first);
            GroupTally[] batch = [.. Enumerable.Range(first, end - first).Select(i => new GroupTally(groups[i]))];
            ScoreBatch(batch, cancellation);
            for (int i = first; i < end; i++)
            {
                scored(i, batch[i - first].Scores());
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _kept?.State.Dispose();
        _kept = null;
    }

    // As many groups as fill passes with contexts and with one continuation of each, and fit the memory.
    int EndOfBatch(IReadOnlyList<ContinuationGroup> groups, int first)
    {
        (long contextRows, double continuationRows, long bytes) = (0, 0, 0);
        int end = first;
        do
        {
            ContinuationGroup group = groups[end];
            bytes += BytesOf(group);
            if (end > first && bytes > _stateBytes)
            {
                break;
            }

            contextRows += group.Context.Length - (end > 0 ? Shared(group.Context, groups[end - 1].Context) : 0);
            continuationRows += group.Continuations.Average(tokens => tokens.Length - 1);
            end++;
        }
        while (end < groups.Count && (contextRows < PassesOfContexts * _rowsAtATime || continuationRows is > 0 && continuationRows < _rowsAtATime));
        return end;
    }

    void ScoreBatch(GroupTally[] batch, CancellationToken cancellation)
    {
        List<Begun> begun = [];
        Begun? keep = null;
        try
        {
            Begin(batch, begun, cancellation);
            long bytes = batch.Sum(tally => BytesOf(tally.Group));
            for (int round = 0; round < batch.Max(tally => tally.Group.Continuations.Length); round++)
            {
                // One continuation of each context, so that a state is seldom wanted again before its pass is full.
                foreach (Begun one in begun)
                {
                    ImmutableArray<ImmutableArray<int>> continuations = one.Tally.Group.Continuations;
                    if (round < continuations.Length && continuations[round].Length > 1)
                    {
                        _pass.AddContinuation(StateFor(one, ref bytes, cancellation), one.Tally, round, cancellation);
                    }
                }
            }

            _pass.Run(cancellation);
            keep = begun.First(one => one.Tally == batch[^1]);
            keep.State.Truncate(keep.Context.Length);
        }
        finally
        {
            _pass.Clear();
            _kept?.State.Dispose();
            _kept = keep;
            foreach (Begun one in begun)
            {
                one.DisposeCopies();
                if (one != keep)
                {
                    one.State.Dispose();
                }
            }
        }
    }

    // A state that holds the context and has nothing waiting: the first, or a copy where else a pass that is not full would have to run.
    SequenceState StateFor(Begun one, ref long bytes, CancellationToken cancellation)
    {
        SequenceState? free = one.Copies.Prepend(one.State).FirstOrDefault(state => !_pass.Waits(state));
        bool complete = one.State.Length >= one.Context.Length; // else the context itself waits
        if (free is null && complete && !_pass.IsWorthRunning && bytes + BytesOf(one.Tally.Group) <= _stateBytes)
        {
            bytes += BytesOf(one.Tally.Group);
            one.Copies.Add(free = _model.CreateState(one.State.Capacity));
            free.BeginLike(one.State, one.Context.Length);
            return free;
        }

        if (free is null)
        {
            _pass.Run(cancellation);
            free = one.State;
        }

        free.Truncate(one.Context.Length);
        return free;
    }

    // Contexts that begin like one which still waits for its pass come after that pass, and copy. Among those that come later it is the same again.
    void Begin(IReadOnlyList<GroupTally> batch, List<Begun> begun, CancellationToken cancellation)
    {
        for (IReadOnlyList<GroupTally> next = batch; next is not [];)
        {
            List<GroupTally> later = [];
            foreach (GroupTally tally in next)
            {
                (_, int ready) = Source(tally, begun, waiting: false);
                (_, int waiting) = Source(tally, begun, waiting: true);
                if (waiting - ready >= WorthWaiting)
                {
                    later.Add(tally);
                }
                else
                {
                    Begin(tally, begun, cancellation);
                }
            }

            if (later is not [])
            {
                _pass.Run(cancellation);
            }

            next = later;
        }
    }

    void Begin(GroupTally tally, List<Begun> begun, CancellationToken cancellation)
    {
        (Begun? source, int shared) = Source(tally, begun, waiting: false);
        SequenceState state = _model.CreateState(Capacity(tally.Group));
        begun.Add(new Begun(tally, state)); // from here on disposed with the batch
        if (source is not null && shared >= WorthCopying)
        {
            state.BeginLike(source.State, shared);
        }

        _pass.AddContext(state, tally.Group.Context.AsSpan()[state.Length..], tally, cancellation);
    }

    // The context with the longest common beginning; at least the last token is left to compute, for its logits.
    (Begun? Source, int Shared) Source(GroupTally tally, List<Begun> begun, bool waiting)
    {
        (Begun? best, int longest) = (null, 0);
        foreach (Begun one in _kept is null ? begun : begun.Prepend(_kept))
        {
            if (_pass.Waits(one.State) == waiting && Math.Min(Shared(tally.Group.Context, one.Context), tally.Group.Context.Length - 1) is var shared && shared > longest)
            {
                (best, longest) = (one, shared);
            }
        }

        return (best, longest);
    }

    long BytesOf(ContinuationGroup group)
    {
        int size = _model.KvCacheType switch { KvCacheType.F32 => 4, KvCacheType.BF16 => 2, _ => 1 };
        long blocks = (Capacity(group) + KvCache.Block - 1) / KvCache.Block;
        return Config.Layers.Sum(layer => (long)layer.KvHeads) * KvCache.ScratchFloats(Config.HeadDim) * size * blocks; // keys and values of a block of one head
    }

    static int Capacity(ContinuationGroup group) => group.Context.Length + group.Continuations.Max(tokens => tokens.Length) - 1;

    static int Shared(ImmutableArray<int> a, ImmutableArray<int> b) => a.AsSpan().CommonPrefixLength(b.AsSpan());
}
