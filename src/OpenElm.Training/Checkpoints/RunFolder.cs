using System.Globalization;
using OpenElm.IO;

namespace OpenElm.Training;

/// <summary>The folder of one run, and what lies where in it.</summary>
/// <param name="Path">The folder.</param>
public sealed record RunFolder(string Path)
{
    const string StepPrefix = "step-";

    /// <summary>The effective configuration.</summary>
    public string ConfigFile => System.IO.Path.Combine(Path, "config.yaml");

    /// <summary>The run's tokenizer.</summary>
    public string TokenizerFile => System.IO.Path.Combine(Path, "tokenizer.model");

    /// <summary>One JSON object a line: training steps and validations.</summary>
    public string MetricsFile => System.IO.Path.Combine(Path, "metrics.jsonl");

    /// <summary>TensorBoard's event files.</summary>
    public string TensorBoardFolder => System.IO.Path.Combine(Path, "tensorboard");

    /// <summary>The report.</summary>
    public string ReportFile => System.IO.Path.Combine(Path, "report.html");

    /// <summary>The model folder with the averaged weights.</summary>
    public string AverageFolder => System.IO.Path.Combine(Path, "average");

    /// <summary>The model folder with the moving average of the weights.</summary>
    public string EmaFolder => System.IO.Path.Combine(Path, "ema");

    /// <summary>Where the checkpoints lie.</summary>
    public string CheckpointsFolder => System.IO.Path.Combine(Path, "checkpoints");

    /// <summary>The place of the checkpoint after a number of updates.</summary>
    /// <param name="step">Updates made.</param>
    /// <returns>For example <c>checkpoints/step-00005000</c>.</returns>
    public string CheckpointFolder(long step) => System.IO.Path.Combine(CheckpointsFolder, $"{StepPrefix}{step:d8}");

    /// <summary>Makes room for a new run: deletes what an earlier one wrote, if that was asked for.</summary>
    /// <param name="overwrite">Whether an earlier run may go.</param>
    /// <exception cref="OpenElmException">There is an earlier run, and it may not go.</exception>
    public void MakeRoom(bool overwrite)
    {
        Directory.CreateDirectory(Path);
        if (!File.Exists(ConfigFile) && !Directory.Exists(CheckpointsFolder))
        {
            return;
        }

        if (!overwrite)
        {
            throw new OpenElmException($"{Path} holds a run already; go on with --resume auto, replace it with --overwrite, or write elsewhere with --set output=FOLDER.");
        }

        // Only what a run writes: a folder named by mistake loses nothing else.
        foreach (string folder in new[] { CheckpointsFolder, AverageFolder, EmaFolder, TensorBoardFolder }.Where(Directory.Exists))
        {
            Directory.Delete(folder, recursive: true);
        }

        foreach (string file in new[] { ConfigFile, TokenizerFile, MetricsFile, ReportFile })
        {
            File.Delete(file);
        }
    }

    /// <summary>Drops whole checkpoints newer than the one a run goes on from: they belong to another course of it.</summary>
    /// <param name="step">Updates made at the checkpoint that is resumed.</param>
    /// <param name="overwrite">Whether they may go.</param>
    /// <exception cref="OpenElmException">There are some, and they may not go.</exception>
    public void DropNewer(long step, bool overwrite)
    {
        string[] newer = [.. Checkpoints().Where(entry => entry.Step > step && entry.Checkpoint.FindDamage() is null).Select(entry => entry.Checkpoint.Path)];
        if (newer.Length > 0 && !overwrite)
        {
            throw new OpenElmException($"{Path} holds {newer.Length} checkpoints newer than update {step}; drop them with --overwrite, or write elsewhere with --set output=FOLDER.");
        }

        Array.ForEach(newer, folder => Directory.Delete(folder, recursive: true));
    }

    /// <summary>The finished checkpoints, oldest first.</summary>
    /// <returns>Updates made, and the checkpoint.</returns>
    public IReadOnlyList<(long Step, TrainingCheckpoint Checkpoint)> Checkpoints() => !Directory.Exists(CheckpointsFolder)
        ? []
        : [.. Directory.EnumerateDirectories(CheckpointsFolder)
            .Select(folder => (Step: StepOf(folder), Checkpoint: new TrainingCheckpoint(folder)))
            .Where(entry => entry.Step >= 0)
            .OrderBy(entry => entry.Step)];

    /// <summary>The newest checkpoint whose files are whole.</summary>
    /// <param name="warn">Told about each newer one that is damaged.</param>
    /// <returns>The checkpoint, or null if there is none.</returns>
    public TrainingCheckpoint? LastGood(Action<string> warn)
    {
        foreach ((_, TrainingCheckpoint checkpoint) in Checkpoints().Reverse())
        {
            if (checkpoint.FindDamage() is not { } damage)
            {
                return checkpoint;
            }

            warn($"The checkpoint {checkpoint.Path} is passed over: {damage}.");
        }

        return null;
    }

    /// <summary>The newest regular checkpoints, oldest first: those that an average is made of.</summary>
    /// <param name="count">How many.</param>
    /// <returns>The checkpoints.</returns>
    /// <exception cref="OpenElmException">The run has fewer.</exception>
    public IReadOnlyList<TrainingCheckpoint> NewestForAverage(int count)
    {
        IReadOnlyList<TrainingCheckpoint> regular = [.. Checkpoints().Select(entry => entry.Checkpoint).Where(checkpoint => checkpoint.ReadState().Interval)];
        return regular.Count >= count
            ? [.. regular.TakeLast(count)]
            : throw new OpenElmException($"The run {Path} has {regular.Count} regular checkpoints; an average of {count} was asked for.");
    }

    /// <summary>Deletes what the configuration does not keep, and what a killed run left unfinished.</summary>
    /// <param name="config">What to keep.</param>
    public void Prune(CheckpointConfig config)
    {
        foreach (string partial in Directory.EnumerateDirectories(CheckpointsFolder, "*" + AtomicFolder.PartialEnding))
        {
            Directory.Delete(partial, recursive: true);
        }

        IReadOnlyList<(long Step, TrainingCheckpoint Checkpoint)> all = Checkpoints();
        if (config.KeepLast == 0 || all.Count <= config.KeepLast)
        {
            return;
        }

        var kept = all.TakeLast(config.KeepLast).Select(entry => entry.Step).ToHashSet();
        // The last checkpoint of a run may be no regular one, and must not take the place of one that the average needs.
        (long Step, TrainingState State)[] states = [.. all.Select(entry => (entry.Step, entry.Checkpoint.ReadState()))];
        kept.UnionWith(states.Where(entry => entry.State.Interval).TakeLast(config.AverageLast).Select(entry => entry.Step));
        kept.UnionWith(states
            .Where(entry => entry.State.ValidationLoss is not null)
            .OrderBy(entry => entry.State.ValidationLoss)
            .Take(config.KeepBest)
            .Select(entry => entry.Step));
        foreach ((_, TrainingCheckpoint checkpoint) in all.Where(entry => !kept.Contains(entry.Step)))
        {
            // Renamed first: killed in the middle, no half-deleted folder looks like a checkpoint.
            string doomed = checkpoint.Path + AtomicFolder.PartialEnding;
            Directory.Move(checkpoint.Path, doomed);
            Directory.Delete(doomed, recursive: true);
        }
    }

    static long StepOf(string folder) =>
        System.IO.Path.GetFileName(folder) is var name && name.StartsWith(StepPrefix, StringComparison.Ordinal)
        && long.TryParse(name.AsSpan(StepPrefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step)
            ? step
            : -1;
}
