using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Scoring;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Scoring;

/// <summary>
/// Scores continuations with the tensor model, on CPU or GPU. Sequences are sorted by length and go in padded batches; the head sees only the positions
/// that count. Continuations of one token need no sequence of their own: the last position of any sequence with their context gives them.
/// Scores agree with those of single sequences to 1e-5 in single precision; products of other shapes round differently.
/// </summary>
public sealed class TorchContinuationScorer : IContinuationScorer
{
    // Logits in double precision: 256 rows of 32000 are 66 MB.
    const int MostLogits = 256;

    // A batch ends where more than an eighth of it would be padding; below so many tokens, another batch costs more than padding does.
    const int FewestTokens = 512, WorstPadding = 8;

    readonly OpenElmModule _module;
    readonly int _candidates, _tokensAtATime;

    /// <summary>Prepares to score.</summary>
    /// <param name="module">The model; not disposed here.</param>
    /// <param name="candidates">Ids below this share the probability: the tokenizer's pieces; null takes the whole vocabulary.</param>
    /// <param name="maxLength">Tokens that a sequence may have; null takes <c>max_context_length</c>.</param>
    /// <param name="tokensAtATime">Tokens of a batch, padding included; one sequence may have more.</param>
    /// <exception cref="OpenElmException">A number is impossible; all are listed.</exception>
    public TorchContinuationScorer(OpenElmModule module, int? candidates = null, int? maxLength = null, int tokensAtATime = 8192)
    {
        ArgumentNullException.ThrowIfNull(module);
        (_module, _candidates, MaxLength, _tokensAtATime) = (module, candidates ?? module.Config.VocabSize, maxLength ?? module.Config.MaxContextLength, tokensAtATime);
        var problems = new List<string>();
        if (_candidates < 1 || _candidates > module.Config.VocabSize)
        {
            problems.Add($"the tokenizer has {_candidates} pieces; the model has {module.Config.VocabSize} rows");
        }

        if (MaxLength < 1 || MaxLength > module.Config.RopeMaxLength)
        {
            problems.Add($"sequences of {MaxLength} tokens; the limit is 1 to {module.Config.RopeMaxLength} (rope_max_length)");
        }

        if (tokensAtATime < 1)
        {
            problems.Add($"batches of {tokensAtATime} tokens; there must be 1 or more");
        }

        if (problems is not [])
        {
            throw OpenElmException.Of("Scoring is impossible", problems);
        }
    }

    /// <inheritdoc/>
    public OpenElmConfig Config => _module.Config;

    /// <inheritdoc/>
    public int MaxLength { get; }

    /// <inheritdoc/>
    public long TokensComputed { get; private set; }

    /// <summary>A context and at most one continuation of two or more tokens; the first sequence of a group also gives all first tokens.</summary>
    readonly record struct Sequence(int Group, int Continuation, int Length);

    /// <summary>A row of the flattened batch, and the token whose log-probability it gives.</summary>
    readonly record struct Wanted(long Row, int Group, int Continuation, int Position);

    /// <inheritdoc/>
    public void Score(IReadOnlyList<ContinuationGroup> groups, Action<int, ImmutableArray<ContinuationScore>> scored, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scored);
        ContinuationGroupRules.Check(groups, MaxLength, _candidates);
        var tallies = new Tally?[groups.Count];
        List<Sequence> sequences = [.. Enumerable.Range(0, groups.Count).SelectMany(i => Sequences(groups[i], i)).OrderByDescending(sequence => sequence.Length)];
        int[] left = new int[groups.Count];
        sequences.ForEach(sequence => left[sequence.Group]++);
        for (int first = 0, end; first < sequences.Count; first = end)
        {
            cancellation.ThrowIfCancellationRequested();
            end = EndOfBatch(sequences, first);
            List<Sequence> batch = sequences[first..end];
            batch.ForEach(sequence => tallies[sequence.Group] ??= new Tally(groups[sequence.Group]));
            Run(batch, groups, tallies);
            foreach (Sequence sequence in batch)
            {
                if (--left[sequence.Group] == 0)
                {
                    scored(sequence.Group, tallies[sequence.Group]!.Scores());
                    tallies[sequence.Group] = null;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    // The first is the longest: all are padded to it.
    int EndOfBatch(List<Sequence> sequences, int first)
    {
        (int longest, int end, long tokens) = (sequences[first].Length, first, 0);
        do
        {
            tokens += sequences[end++].Length;
        }
        while (end < sequences.Count && (long)(end + 1 - first) * longest <= _tokensAtATime && (tokens < FewestTokens || !PadsTooMuch(sequences[end].Length)));
        return end;

        bool PadsTooMuch(int length) => WorstPadding * (((end + 1 - first) * (long)longest) - tokens - length) > (end + 1 - first) * (long)longest;
    }

    static IEnumerable<Sequence> Sequences(ContinuationGroup group, int index)
    {
        int[] longer = [.. Enumerable.Range(0, group.Continuations.Length).Where(i => group.Continuations[i].Length > 1)];
        return longer is [] ? [new Sequence(index, 0, group.Context.Length)]
            : longer.Select(i => new Sequence(index, i, group.Context.Length + group.Continuations[i].Length - 1));
    }

    void Run(List<Sequence> batch, IReadOnlyList<ContinuationGroup> groups, Tally?[] tallies)
    {
        using var noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        int seq = batch[0].Length;
        long[] ids = new long[checked(batch.Count * seq)]; // padded behind the end, where causal attention does not look
        var wanted = new List<Wanted>();
        for (int row = 0; row < batch.Count; row++)
        {
            Sequence sequence = batch[row];
            ContinuationGroup group = groups[sequence.Group];
            ImmutableArray<int> continuation = group.Continuations[sequence.Continuation];
            int at = row * seq, context = group.Context.Length;
            for (int i = 0; i < sequence.Length; i++)
            {
                ids[at + i] = i < context ? group.Context[i] : continuation[i - context];
            }

            long last = at + context - 1; // predicts the first tokens
            wanted.AddRange(tallies[sequence.Group]!.TakeFirst().Select(i => new Wanted(last, sequence.Group, i, 0)));
            wanted.AddRange(Enumerable.Range(1, sequence.Length - context).Select(i => new Wanted(last + i, sequence.Group, sequence.Continuation, i)));
        }

        TokensComputed += ids.Length;
        Device device = TorchLibrary.Device(_module.Options.Device);
        Tensor hidden = _module.ComputeHidden(tensor(ids, [batch.Count, seq], device: device)); // [batch, seq, modelDim]
        hidden = hidden.reshape(-1, Config.ModelDim);
        foreach (Wanted[] some in wanted.Chunk(MostLogits))
        {
            AddLogits(hidden, some, groups, tallies, device);
        }
    }

    // hidden [batch · seq, modelDim]
    void AddLogits(Tensor hidden, Wanted[] wanted, IReadOnlyList<ContinuationGroup> groups, Tally?[] tallies, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        long[] targets = [.. wanted.Select(one => (long)groups[one.Group].Continuations[one.Continuation][one.Position])];
        Tensor rows = hidden.index_select(0, tensor(wanted.Select(one => one.Row).ToArray(), device: device)); // [wanted, modelDim]
        ScalarType type = _module.Options.ProductType;
        Tensor logits = functional.linear(rows.to_type(type), _module.HeadWeight.to_type(type)).narrow(1, 0, _candidates).to_type(ScalarType.Float64); // [wanted, candidates]
        Tensor ofTarget = logits.gather(1, tensor(targets, [targets.Length, 1], device: device)).squeeze(1);
        double[] logProbabilities = [.. (ofTarget - logits.logsumexp(1)).cpu().data<double>()];
        long[] likeliest = [.. logits.argmax(1).cpu().data<long>()];
        for (int i = 0; i < wanted.Length; i++)
        {
            if (!double.IsFinite(logProbabilities[i]))
            {
                throw new OpenElmException("The model gave logits that are no numbers; its weights are damaged, or overflow.");
            }

            tallies[wanted[i].Group]!.Add(wanted[i].Continuation, wanted[i].Position, logProbabilities[i], likeliest[i] == targets[i]);
        }
    }

    /// <summary>Log-probabilities of a group, token by token.</summary>
    sealed class Tally(ContinuationGroup group)
    {
        readonly double[][] _values = [.. group.Continuations.Select(tokens => new double[tokens.Length])];
        readonly bool[] _greedy = [.. group.Continuations.Select(_ => true)];
        bool _firstTaken;

        /// <summary>All continuations, the first time it is asked: which sequence gives their first tokens.</summary>
        public IEnumerable<int> TakeFirst()
        {
            bool taken = _firstTaken;
            _firstTaken = true;
            return taken ? [] : Enumerable.Range(0, _values.Length);
        }

        public void Add(int continuation, int position, double logProbability, bool greedy) =>
            (_values[continuation][position], _greedy[continuation]) = (logProbability, _greedy[continuation] && greedy);

        public ImmutableArray<ContinuationScore> Scores() => [.. _values.Select((values, i) => new ContinuationScore(values.AsEnumerable().Sum(), _greedy[i]))];
    }
}
