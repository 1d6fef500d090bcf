using OpenElm.Inference.Constraints;

namespace OpenElm.Inference.Generation.Beams;

/// <summary>One unfinished output with its state.</summary>
/// <param name="model">The model.</param>
/// <param name="longest">The longest sequence, the last token included, which is not fed.</param>
/// <param name="walk">Where it begins in its constraint; null without one.</param>
internal sealed class Beam(TextModel model, int longest, ConstraintWalk? walk) : IDisposable
{
    readonly SequenceState _state = model.Model.CreateState(Math.Min(longest, model.Model.MaxLength));
    readonly int[] _tokens = new int[longest];

    /// <summary>Where it stands in its constraint; null without one.</summary>
    public ConstraintWalk? Walk { get; } = walk?.Copy();

    /// <summary>Prompt and output so far.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Length);

    /// <summary>How many tokens these are.</summary>
    public int Length { get; private set; }

    /// <summary>The sum of the log-probabilities of the output.</summary>
    public double LogProbability { get; private set; }

    /// <summary>[vocab]: predicts the next token.</summary>
    public float[] Logits { get; } = new float[model.Model.Config.VocabSize];

    /// <summary>Feeds the prompt.</summary>
    /// <param name="prompt">[seq].</param>
    public void Begin(ReadOnlySpan<int> prompt)
    {
        prompt.CopyTo(_tokens);
        Length = prompt.Length;
        model.Model.Prefill(prompt, _state, Logits);
    }

    /// <summary>Becomes a copy of another beam.</summary>
    /// <param name="other">The beam; its last token has been fed.</param>
    /// <param name="promptLength">Positions that all beams share.</param>
    public void CopyFrom(Beam other, int promptLength)
    {
        _state.CopyFrom(other._state, Math.Min(promptLength, _state.Length));
        other.Tokens.CopyTo(_tokens);
        (Length, LogProbability) = (other.Length, other.LogProbability);
        Walk?.CopyFrom(other.Walk!);
    }

    /// <summary>Goes on with a token, which is not fed yet.</summary>
    /// <param name="candidate">The token.</param>
    public void Append(Candidate candidate)
    {
        _tokens[Length++] = candidate.Token;
        LogProbability = candidate.LogProbability;
        Walk?.Advance(candidate.Token);
    }

    /// <summary>Feeds the last token.</summary>
    public void Feed() => model.Model.Decode(_tokens[Length - 1], _state, Logits);

    /// <summary>The output so far.</summary>
    /// <param name="promptLength">Where it begins.</param>
    /// <returns>A copy.</returns>
    public int[] Output(int promptLength) => Tokens[promptLength..].ToArray();

    /// <inheritdoc/>
    public void Dispose() => _state.Dispose();
}
