using System.Text.Json;
using OpenElm.Training;

namespace OpenElm.Verification.Golden;

/// <summary>What a checkpoint needs besides weights and optimizer, where a check saves a trainer that belongs to no run.</summary>
internal static class OutsideRun
{
    /// <summary>A state that says nothing.</summary>
    public static TrainingState State { get; } = new()
    {
        Format = TrainingState.CurrentFormat,
        Step = 0,
        TokensSeen = 0,
        TrainedSeconds = 0,
        Data = JsonSerializer.SerializeToElement(0),
        Interval = true,
        Identity = "",
        Versions = new Dictionary<string, string>(),
    };
}
