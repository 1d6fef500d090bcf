using System.Collections.Immutable;

namespace OpenElm.Training;

/// <summary>Held-out records of tuning; template, limits and what the loss looks at are those of the training data.</summary>
public sealed record RecordValidationConfig : IValidated
{
    /// <summary>The held-out files.</summary>
    public required ImmutableArray<string> Files { get; init; }

    /// <summary>Validate after every so many updates, and at the end.</summary>
    public int Every { get; init; } = 100;

    /// <summary>Take this many records; 0 takes all.</summary>
    public int MaxRecords { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(Files is { IsDefaultOrEmpty: false }, path, "files", "is empty; name at least one file.");
        problems.Require(Every >= 1, path, "every", $"is {Every}; it must be at least 1.");
        problems.Require(MaxRecords >= 0, path, "max_records", $"is {MaxRecords}; it must be 0 (all) or more.");
    }
}
