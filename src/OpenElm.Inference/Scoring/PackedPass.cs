using System.Runtime.InteropServices;

namespace OpenElm.Inference.Scoring;

/// <summary>
/// Collects tokens of many sequences until a pass is full, runs it, and hands each row of logits to its tally. Long runs are cut where a pass is full.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="candidates">Ids below this share the probability.</param>
/// <param name="mostRows">Tokens of a pass.</param>
/// <param name="mostLogits">Rows of logits of a pass.</param>
internal sealed class PackedPass(OpenElmModel model, int candidates, int mostRows, int mostLogits)
{
    // Below so many rows of logits, waking other threads costs more than it saves.
    const int RowsToShare = 4;

    readonly List<SequenceRun> _runs = [];
    readonly List<int> _tokens = [];
    readonly List<Row> _rows = [];
    readonly HashSet<SequenceState> _states = [];
    float[] _logits = [];

    /// <summary>Tokens that went through the model so far.</summary>
    public long TokensComputed { get; private set; }

    /// <summary>Which token of a group a row of logits predicts; position 0 stands for the first tokens of all continuations.</summary>
    /// <param name="Tally">The group.</param>
    /// <param name="Continuation">Of the group.</param>
    /// <param name="Position">Of the continuation.</param>
    readonly record struct Row(GroupTally Tally, int Continuation, int Position);

    /// <summary>Whether a pass would be at least half full.</summary>
    public bool IsWorthRunning => 2 * _tokens.Count >= mostRows || 2 * _rows.Count >= mostLogits;

    /// <summary>Whether a sequence has tokens that wait for the pass.</summary>
    /// <param name="state">The sequence.</param>
    /// <returns>Whether it has.</returns>
    public bool Waits(SequenceState state) => _states.Contains(state);

    /// <summary>Adds what is new of a context; its last logits are wanted.</summary>
    /// <param name="state">The sequence.</param>
    /// <param name="tokens">[new], at least one.</param>
    /// <param name="tally">The group.</param>
    /// <param name="cancellation">Stops between two passes.</param>
    public void AddContext(SequenceState state, ReadOnlySpan<int> tokens, GroupTally tally, CancellationToken cancellation) =>
        Add(state, tokens, tokens.Length - 1, new Row(tally, 0, 0), cancellation);

    /// <summary>Adds a continuation of two tokens or more; the last token need not be fed.</summary>
    /// <param name="state">The sequence, which holds the context and has nothing waiting.</param>
    /// <param name="tally">The group.</param>
    /// <param name="continuation">Which.</param>
    /// <param name="cancellation">Stops between two passes.</param>
    public void AddContinuation(SequenceState state, GroupTally tally, int continuation, CancellationToken cancellation) =>
        Add(state, tally.Group.Continuations[continuation].AsSpan()[..^1], 0, new Row(tally, continuation, 1), cancellation);

    /// <summary>Runs what waits.</summary>
    /// <param name="cancellation">Stops before the pass.</param>
    /// <exception cref="OpenElmException">The logits are no numbers.</exception>
    public void Run(CancellationToken cancellation)
    {
        if (_runs.Count == 0)
        {
            return;
        }

        cancellation.ThrowIfCancellationRequested();
        int needed = checked(_rows.Count * model.Config.VocabSize);
        if (_logits.Length < needed)
        {
            _logits = new float[needed]; // [rows, vocab]
        }

        model.Forward(CollectionsMarshal.AsSpan(_runs), CollectionsMarshal.AsSpan(_tokens), _logits);
        TokensComputed += _tokens.Count;
        AddLogits();
        Clear();
    }

    /// <summary>Forgets what waits.</summary>
    public void Clear()
    {
        _runs.Clear();
        _tokens.Clear();
        _rows.Clear();
        _states.Clear();
    }

    void Add(SequenceState state, ReadOnlySpan<int> tokens, int firstWanted, Row first, CancellationToken cancellation)
    {
        for (int at = 0; at < tokens.Length;)
        {
            int count = Math.Min(tokens.Length - at, Math.Min(mostRows - _tokens.Count, Math.Max(0, firstWanted - at) + mostLogits - _rows.Count));
            if (count > 0)
            {
                int wantedFrom = Math.Clamp(firstWanted, at, at + count);
                _runs.Add(new SequenceRun(state, count, at + count - wantedFrom));
                _tokens.AddRange(tokens.Slice(at, count));
                _states.Add(state);
                for (int row = wantedFrom; row < at + count; row++)
                {
                    _rows.Add(first with { Position = first.Position + row - firstWanted });
                }

                at += count;
            }

            if (at < tokens.Length)
            {
                Run(cancellation);
            }
        }
    }

    void AddLogits()
    {
        int vocab = model.Config.VocabSize;
        int damaged = 0;
        if (_rows.Count < RowsToShare)
        {
            for (int i = 0; i < _rows.Count; i++)
            {
                AddRow(i);
            }
        }
        else
        {
            Parallel.For(0, _rows.Count, new ParallelOptions { MaxDegreeOfParallelism = model.Threads }, AddRow);
        }

        if (damaged != 0)
        {
            throw new OpenElmException($"The model gave logits that are no numbers; {model.CauseOfOverflow}.");
        }

        void AddRow(int index)
        {
            (GroupTally tally, int continuation, int position) = _rows[index];
            ReadOnlySpan<float> row = _logits.AsSpan(index * vocab, candidates); // rows that only pad have no probability
            if (!(position == 0 ? tally.AddFirst(row) : tally.Add(continuation, position, row)))
            {
                Interlocked.Exchange(ref damaged, 1);
            }
        }
    }
}
