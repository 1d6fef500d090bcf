namespace OpenElm.Training;

/// <summary>What the configurations of all kinds of training have in common: the loop, the optimizer, and what a run leaves behind.</summary>
public interface ITrainingConfig
{
    /// <summary>The folder of the run: checkpoints, metrics, report.</summary>
    string Output { get; }

    /// <summary>Seed of everything drawn at random.</summary>
    int Seed { get; }

    /// <summary>AdamW.</summary>
    OptimizerConfig Optimizer { get; }

    /// <summary>The learning rate over the run.</summary>
    ScheduleConfig Schedule { get; }

    /// <summary>The loop.</summary>
    TrainerConfig Trainer { get; }

    /// <summary>What is saved, when, and what is kept.</summary>
    CheckpointConfig Checkpoints { get; }

    /// <summary>How the run uses several processes.</summary>
    DistributedConfig Distributed { get; }

    /// <summary>Text written by the model at the end, or null for none.</summary>
    SampleConfig? Samples { get; }

    /// <summary>Adds a sentence for each pair of values that contradict each other.</summary>
    /// <param name="path">The path of the configuration, empty for a file's root.</param>
    /// <param name="problems">The list to add to.</param>
    /// <param name="validates">Whether the run looks at held-out data.</param>
    internal void ValidateShared(string path, List<string> problems, bool validates)
    {
        problems.Require(Output.Length > 0, path, "output", "is empty; name the folder of the run.");
        problems.Require(Checkpoints.AverageLast == 0 || Checkpoints.KeepLast == 0 || Checkpoints.KeepLast >= Checkpoints.AverageLast, path, "checkpoints.keep_last",
            $"is {Checkpoints.KeepLast}; it must be at least average_last ({Checkpoints.AverageLast}), or 0 to keep all.");
        problems.Require(Checkpoints.KeepBest == 0 || validates, path, "checkpoints.keep_best",
            "needs a validation section: the best checkpoints are those of the lowest validation loss.");
        // A share of the updates always fits.
        if (Trainer.Steps > 0 && Schedule.WarmupRatio is null)
        {
            int last = Schedule.LastIteration(Trainer.Steps);
            problems.Require(Schedule.WarmupOf(Trainer.Steps) <= last, path, "schedule.warmup_iterations", $"is {Schedule.WarmupOf(Trainer.Steps)}; it must not pass the last iteration ({last}).");
        }
    }
}
