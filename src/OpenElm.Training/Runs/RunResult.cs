using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>The outcome of a run.</summary>
public sealed record RunResult
{
    /// <summary>The run's folder.</summary>
    public required string Output { get; init; }

    /// <summary>The model folder to use: the average if there is one, else the last checkpoint; the base model beside an adapter.</summary>
    public required string Model { get; init; }

    /// <summary>The adapter folder to use with it, or null.</summary>
    public string? Adapter { get; init; }

    /// <summary>Updates made.</summary>
    public required long Steps { get; init; }

    /// <summary>Targets trained on, over all parts of the run.</summary>
    public required long TokensSeen { get; init; }

    /// <summary>The training loss of the last window: cross entropy in nats a token for language models.</summary>
    public required double TrainingLoss { get; init; }

    /// <summary>Validation loss of the last weights, or null without validation.</summary>
    public double? ValidationLoss { get; init; }

    /// <summary>Validation loss of the averaged weights, or null.</summary>
    public double? AverageValidationLoss { get; init; }

    /// <summary>Bits the model to use needs for a byte of held-out text, or null.</summary>
    public double? BitsPerByte { get; init; }

    /// <summary>What else was measured on held-out data with the last weights; empty without validation.</summary>
    public IReadOnlyDictionary<string, double> ValidationMeasured { get; init; } = new Dictionary<string, double>();

    /// <summary>What <see cref="ValidationMeasured"/> are means over: tokens of language models, pairs of preferences; 0 without validation.</summary>
    public long ValidationTerms { get; init; }

    /// <summary>The share of held-out pairs whose chosen response has the higher reward; null for language models and without validation.</summary>
    public Proportion? RewardAccuracy { get; init; }

    /// <summary>Loss of a bigram model on the same held-out tokens, or null.</summary>
    public double? BigramLoss { get; init; }

    /// <summary>Share of the training time in which the trainer waited for data.</summary>
    public required double DataWaitShare { get; init; }

    /// <summary>Token positions a second of training time in this part of the run.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Time by phase, in the order they ran.</summary>
    public required IReadOnlyDictionary<string, TimeSpan> Timings { get; init; }

    /// <summary>The text written at the end.</summary>
    public required IReadOnlyList<TextSample> Samples { get; init; }
}

/// <summary>A prompt and how the model went on.</summary>
/// <param name="Prompt">The beginning.</param>
/// <param name="Continuation">What the model wrote.</param>
public sealed record TextSample(string Prompt, string Continuation);
