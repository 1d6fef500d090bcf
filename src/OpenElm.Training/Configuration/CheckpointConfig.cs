namespace OpenElm.Training;

/// <summary>Checkpoints of a run.</summary>
public sealed record CheckpointConfig : IValidated
{
    /// <summary>Save after every so many updates, and at the end.</summary>
    public int Every { get; init; } = 5000;

    /// <summary>Keep this many of the newest checkpoints, and what <see cref="AverageLast"/> needs; 0 keeps all.</summary>
    public int KeepLast { get; init; }

    /// <summary>Keep this many with the lowest validation loss besides.</summary>
    public int KeepBest { get; init; }

    /// <summary>Average the weights of this many of the newest checkpoints at the end; 0 makes no average. The paper takes five.</summary>
    public int AverageLast { get; init; } = 5;

    /// <summary>Weights are split into files of this many bytes.</summary>
    public long MaxShardBytes { get; init; } = 5_000_000_000;

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(Every >= 1, path, "every", $"is {Every}; it must be at least 1.");
        problems.Require(KeepLast >= 0, path, "keep_last", $"is {KeepLast}; it must be 0 (all) or more.");
        problems.Require(KeepBest >= 0, path, "keep_best", $"is {KeepBest}; it must be 0 or more.");
        problems.Require(AverageLast is 0 or >= 2, path, "average_last", $"is {AverageLast}; it must be 0 (no average) or at least 2.");
        problems.Require(MaxShardBytes >= 1, path, "max_shard_bytes", $"is {MaxShardBytes}; it must be positive.");
    }
}
