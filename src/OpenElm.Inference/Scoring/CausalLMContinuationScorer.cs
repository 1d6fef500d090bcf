using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Scoring;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Scoring;

/// <summary>
/// Scores one sequence for each continuation, from its first token on: the plain reference that the fast scorers are compared with. Any model will do.
/// </summary>
/// <param name="model">The model; not disposed here.</param>
/// <param name="tokenizer">Its tokenizer, or null where all rows of the vocabulary count.</param>
/// <param name="maxLength">Tokens that a sequence may have; null takes <c>max_context_length</c>.</param>
public sealed class CausalLMContinuationScorer(ICausalLM model, SentencePieceTokenizer? tokenizer, int? maxLength = null) : IContinuationScorer
{
    readonly int _candidates = TextModel.CandidateCount(model, tokenizer);

    /// <inheritdoc/>
    public OpenElmConfig Config => model.Config;

    /// <inheritdoc/>
    public int MaxLength { get; } = maxLength ?? model.Config.MaxContextLength;

    /// <inheritdoc/>
    public long TokensComputed { get; private set; }

    /// <inheritdoc/>
    public void Score(IReadOnlyList<ContinuationGroup> groups, Action<int, ImmutableArray<ContinuationScore>> scored, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(scored);
        ContinuationGroupRules.Check(groups, MaxLength, _candidates);
        for (int i = 0; i < groups.Count; i++)
        {
            var tally = new GroupTally(groups[i]);
            for (int c = 0; c < groups[i].Continuations.Length; c++)
            {
                cancellation.ThrowIfCancellationRequested();
                Add(tally, c);
            }

            scored(i, tally.Scores());
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    void Add(GroupTally tally, int continuation)
    {
        (ImmutableArray<int> context, ImmutableArray<int> targets) = (tally.Group.Context, tally.Group.Continuations[continuation]);
        int[] tokens = [.. context, .. targets[..^1]];
        float[] logits = new float[checked(targets.Length * Config.VocabSize)]; // [targets, vocab]
        model.ComputeLogits(tokens, context.Length - 1, logits);
        TokensComputed += tokens.Length;
        for (int row = 0; row < targets.Length; row++)
        {
            ReadOnlySpan<float> candidates = logits.AsSpan(row * Config.VocabSize, _candidates); // rows that only pad have no probability
            if (!(row == 0 ? tally.AddFirst(candidates) : tally.Add(continuation, row, candidates)))
            {
                throw new OpenElmException($"The model gave logits that are no numbers; {(model as OpenElmModel)?.CauseOfOverflow ?? OpenElmModel.DamagedOrOverflow}.");
            }
        }
    }
}
