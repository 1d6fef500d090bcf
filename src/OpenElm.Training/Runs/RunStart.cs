using OpenElm.Distributed;

namespace OpenElm.Training;

/// <summary>Where a run begins: in a folder made free for it, or at the checkpoint it goes on from.</summary>
/// <param name="Folder">The run's folder.</param>
/// <param name="Checkpoint">The checkpoint, or null for a new run.</param>
/// <param name="State">The checkpoint's state, or null.</param>
/// <param name="Identity">What a resumed run must share, as text.</param>
internal sealed record RunStart(RunFolder Folder, TrainingCheckpoint? Checkpoint, TrainingState? State, string Identity)
{
    /// <summary>Finds the beginning; call it when everything that can be wrong with the configuration has been looked at.</summary>
    /// <param name="run">The run.</param>
    /// <param name="identity">What a resumed run must share, as text.</param>
    /// <param name="options">How it is started.</param>
    /// <param name="log">Told about checkpoints that are passed over.</param>
    /// <exception cref="OpenElmException">There is an earlier run that may not go, or the checkpoint is damaged or of another run.</exception>
    public static RunStart Find(ITrainingConfig run, string identity, RunOptions options, Action<string> log)
    {
        RunFolder folder = FolderOf(run, options);
        if (options.Group is { } group)
        {
            return FindTogether(folder, run, identity, options, group, log);
        }

        TrainingCheckpoint? checkpoint = FindCheckpoint(folder, options, log);
        TrainingState? state = checkpoint?.ReadState();
        if (state is null)
        {
            // A run that was killed before its first checkpoint has nothing to lose.
            folder.MakeRoom(options.Overwrite || (options.Resume == RunOptions.ResumeAuto && folder.Checkpoints() is []));
        }
        else
        {
            RunIdentity.RequireSame(state.Identity, identity, checkpoint!.Path);
            folder.DropNewer(state.Step, options.Overwrite);
        }

        return new(folder, checkpoint, state, identity);
    }

    // The first rank looks and makes room; the others begin where it says.
    static RunStart FindTogether(RunFolder folder, ITrainingConfig run, string identity, RunOptions options, IProcessGroup group, Action<string> log)
    {
        RunStart? start = group.Rank == 0 ? Find(run, identity, options with { Group = null }, log) : null;
        string path = group.Broadcast(start?.Checkpoint?.Path ?? "");
        if (start is null)
        {
            TrainingCheckpoint? checkpoint = path.Length == 0 ? null : new TrainingCheckpoint(path);
            if (checkpoint is not null && !Directory.Exists(path))
            {
                throw new OpenElmException($"The checkpoint {path} that the first rank goes on from is not there on {group.Hosts[group.Rank]}; all ranks need the same files, on a shared file system.");
            }

            start = new RunStart(folder, checkpoint, checkpoint?.ReadState(), identity);
        }

        return start;
    }

    /// <summary>Puts a trainer at the checkpoint, if there is one.</summary>
    /// <typeparam name="TBatch">What one forward pass takes.</typeparam>
    /// <param name="trainer">The trainer.</param>
    /// <param name="log">Told from where the run goes on.</param>
    public void Restore<TBatch>(Trainer<TBatch> trainer, Action<string> log)
    {
        if (Checkpoint is not null)
        {
            trainer.Load(Checkpoint);
            log($"Resuming after update {trainer.Step} from {Checkpoint.Path}.");
        }
    }

    /// <summary>The folder of a run.</summary>
    /// <param name="run">The run.</param>
    /// <param name="options">Where relative paths start from.</param>
    public static RunFolder FolderOf(ITrainingConfig run, RunOptions options) => new(Path.GetFullPath(run.Output, Path.GetFullPath(options.BaseDirectory)));

    static TrainingCheckpoint? FindCheckpoint(RunFolder folder, RunOptions options, Action<string> warn)
    {
        switch (options.Resume)
        {
            case null:
                return null;
            case RunOptions.ResumeAuto:
                return folder.LastGood(warn);
            default:
                var checkpoint = new TrainingCheckpoint(Path.GetFullPath(options.Resume, Path.GetFullPath(options.BaseDirectory)));
                return checkpoint.FindDamage() is not { } damage
                    ? checkpoint
                    : throw new OpenElmException($"The checkpoint {checkpoint.Path} cannot be resumed: {damage}.");
        }
    }
}
