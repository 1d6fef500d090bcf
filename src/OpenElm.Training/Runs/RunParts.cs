using OpenElm.Data;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What a <see cref="TrainingRun{TBatch}"/> is put together from: the part that each kind of training prepares in its own way.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
internal sealed record RunParts<TBatch>
{
    /// <summary>The run, its number of updates included.</summary>
    public required ITrainingConfig Config { get; init; }

    /// <summary>How it is started.</summary>
    public required RunOptions Options { get; init; }

    /// <summary>Where it begins.</summary>
    public required RunStart Start { get; init; }

    /// <summary>The trainer, at the beginning or at the checkpoint.</summary>
    public required Trainer<TBatch> Trainer { get; init; }

    /// <summary>The training data, where the next update begins.</summary>
    public required IBatchSource<TBatch> Data { get; init; }

    /// <summary>The position of all ranks together as JSON, from this rank's; all ranks call it at once. Null where every rank's is the same.</summary>
    public Func<IDataPosition, string>? MergePositions { get; init; }

    /// <summary>Held-out data, or null.</summary>
    public Validator<TBatch>? Validator { get; init; }

    /// <summary>Measures the validation loss of a model that is no language model, on the same data; null where there is none.</summary>
    public Func<CancellationToken, double>? BigramLoss { get; init; }

    /// <summary>The model folder that the trained adapter belongs to; null where whole models are trained.</summary>
    public string? BaseModel { get; init; }

    /// <summary>The token ids of a sample's prompt, BOS included.</summary>
    public required Func<string, int[]> EncodePrompt { get; init; }

    /// <summary>Token positions of one update, at most.</summary>
    public required long TokensPerStep { get; init; }

    /// <summary>Floating-point operations of one token position, forward and backward.</summary>
    public required double FlopsPerToken { get; init; }

    /// <summary>How long the phases of the preparation took; the run adds its own.</summary>
    public required PhaseTimings Timings { get; init; }

    /// <summary>What the report says about the data, asked for at the end.</summary>
    public required Func<IEnumerable<ReportFact>> DataFacts { get; init; }

    /// <summary>What the report says about the model.</summary>
    public required IReadOnlyList<ReportFact> ModelFacts { get; init; }
}
