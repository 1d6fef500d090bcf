using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>
/// What a resumed run must have in common with the run that wrote the checkpoint, as text: the arithmetic of every step.
/// The data are left out, because their position carries a fingerprint of its own; what is only logged, saved or shown may change.
/// </summary>
internal static class RunIdentity
{
    /// <summary>The decisive part of a configuration.</summary>
    public static string Of(RunConfig run) => Text(run with
    {
        Output = "any",
        Tokenizer = new TokenizerConfig(),
        Data = new DataConfig { Sources = [], SequenceLength = run.Data.SequenceLength },
        Validation = null,
        Checkpoints = new CheckpointConfig(),
        Distributed = null!,
        Samples = null,
        Schedule = Fixed(run.Schedule, run.Trainer.Steps),
        Trainer = run.Trainer with { Steps = 1, LogEvery = 1 },
    });

    /// <summary>The decisive part of a configuration.</summary>
    /// <param name="run">The run.</param>
    /// <param name="baseWeights">Fingerprint of the frozen weights beside an adapter; null where the checkpoint holds all weights.</param>
    public static string Of(FinetuneConfig run, string? baseWeights) => Text(run with
    {
        Output = "any",
        Model = baseWeights ?? "any",
        Data = new ExampleConfig { Files = [] },
        Validation = null,
        Checkpoints = new CheckpointConfig(),
        Distributed = null!,
        Samples = null,
        Schedule = Fixed(run.Schedule, run.Trainer.Steps),
        Trainer = run.Trainer with { Steps = 1, LogEvery = 1 },
    });

    /// <summary>The decisive part of a configuration.</summary>
    /// <param name="run">The run.</param>
    /// <param name="weights">Fingerprint of the weights of the reference model.</param>
    public static string Of(AlignConfig run, string weights) => Text(run with
    {
        Output = "any",
        Model = weights,
        Data = new PreferenceConfig { Files = [] },
        Validation = null,
        ReferenceCache = null,
        Checkpoints = new CheckpointConfig(),
        Distributed = null!,
        Samples = null,
        Schedule = Fixed(run.Schedule, run.Trainer.Steps),
        Trainer = run.Trainer with { Steps = 1, LogEvery = 1 },
    });

    // The number of processes is not arithmetic.
    static string Text(ITrainingConfig run) => StrictYaml.Write(run).Replace("distributed: null\n", "", StringComparison.Ordinal);

    static ScheduleConfig Fixed(ScheduleConfig schedule, int steps) =>
        schedule with { MaxIterations = schedule.LastIteration(steps), WarmupIterations = schedule.WarmupOf(steps), WarmupRatio = null };

    /// <summary>Refuses to resume under other arithmetic.</summary>
    /// <param name="saved">The identity in the checkpoint.</param>
    /// <param name="current">The identity of this configuration.</param>
    /// <param name="checkpoint">The checkpoint, for the message.</param>
    public static void RequireSame(string saved, string current, string checkpoint)
    {
        if (saved == current)
        {
            return;
        }

        string[] before = saved.Split('\n'), now = current.Split('\n');
        var differences = before.Except(now).Select(line => $"it has {line.Trim()}").Concat(now.Except(before).Select(line => $"the configuration has {line.Trim()}"));
        throw OpenElmException.Of($"The checkpoint {checkpoint} cannot be resumed with this configuration, because the steps would not be the same", [.. differences]);
    }
}
