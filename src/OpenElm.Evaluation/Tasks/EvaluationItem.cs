using System.Collections.Immutable;

namespace OpenElm.Evaluation.Tasks;

/// <summary>What is asked of the model for one document: the log-probability of a continuation behind a context.</summary>
/// <param name="Context">The text before; empty for whole texts.</param>
/// <param name="Continuation">The text that is scored, its leading delimiter included. Where the model writes its answer, a right one, which it does not see.</param>
public sealed record EvaluationRequest(string Context, string Continuation);

/// <summary>One document of a task, ready to be scored.</summary>
public sealed record EvaluationItem
{
    /// <summary>The row of the data, from 0.</summary>
    public required int DocumentId { get; init; }

    /// <summary>The requests, in the order of the choices.</summary>
    public required ImmutableArray<EvaluationRequest> Requests { get; init; }

    /// <summary>The choices without delimiters: <c>acc_norm</c> divides by their length in code points. As many as requests; empty where there is nothing to choose.</summary>
    public ImmutableArray<string> Choices { get; init; } = [];

    /// <summary>The right choice; −1 where there is none (whole texts, pairs).</summary>
    public int Gold { get; init; } = -1;

    /// <summary>Of TruthfulQA's answers: how many at the beginning are true. 0 elsewhere.</summary>
    public int TrueChoices { get; init; }

    /// <summary>Where the model writes its answer: the right one. Null elsewhere.</summary>
    public ExpectedAnswer? Expected { get; init; }

    /// <summary>Of a whole text: words (split at white space) and bytes (UTF-8) that perplexities are divided by. 0 elsewhere.</summary>
    public (int Words, int Bytes) Size { get; init; }
}

/// <summary>What kind of answer a task wants.</summary>
public enum RequestKind
{
    /// <summary>Log-probabilities of continuations.</summary>
    Continuation,

    /// <summary>Log-probabilities of whole texts, in windows of the model's context (WikiText).</summary>
    WholeText,

    /// <summary>Text that the model writes.</summary>
    Generation,
}
