using OpenElm.Adapters;

namespace OpenElm.Training;

/// <summary>What the configurations have in common that go on training a model folder.</summary>
public interface ITuningConfig : ITrainingConfig
{
    /// <summary>The model folder to begin with; its tokenizer and chat template are used and go into the result.</summary>
    string Model { get; }

    /// <summary>The adapter to train beside the frozen weights; null trains the weights themselves.</summary>
    AdapterConfig? Adapter { get; }

    /// <summary>
    /// The format of <c>openelm quantize</c> that the frozen matrices of the layers are held in beside an adapter, for example <c>Q4_K</c> (QLoRA); null
    /// holds them as the precision says.
    /// </summary>
    string? BaseWeights { get; }

    /// <summary>Passes over the data; 0 where updates are counted instead.</summary>
    internal int Epochs { get; }

    /// <summary>Adds a sentence for each pair of values that contradict each other.</summary>
    /// <param name="path">The path of the configuration, empty for a file's root.</param>
    /// <param name="problems">The list to add to.</param>
    /// <param name="validates">Whether the run looks at held-out data.</param>
    internal void ValidateTuning(string path, List<string> problems, bool validates)
    {
        problems.Require(Model.Length > 0, path, "model", "is empty; name a model folder.");
        problems.Require(Trainer.Steps > 0 != Epochs > 0, path, "trainer.steps", "and data.epochs are alternatives; give exactly one of them.");
        problems.Require(Adapter is null || Checkpoints.AverageLast == 0, path, "checkpoints.average_last", $"is {Checkpoints.AverageLast}; adapters are not averaged (the mean of B·A is not that of B and A), so set it to 0.");
        BaseWeightFormat.Validate(BaseWeights, Adapter, path, problems);
        ValidateShared(path, problems, validates);
    }
}

/// <summary>The length of tuning runs.</summary>
internal static class TuningSteps
{
    /// <summary>Turns epochs into updates.</summary>
    /// <typeparam name="TConfig">The configuration.</typeparam>
    /// <param name="run">The run.</param>
    /// <param name="batchesOf">Counts the micro-batches of some epochs.</param>
    /// <param name="withSteps">The same run with its updates given and no epochs.</param>
    /// <returns>The run, valid.</returns>
    /// <exception cref="OpenElmException">The warm-up is longer.</exception>
    public static TConfig Count<TConfig>(TConfig run, Func<int, int> batchesOf, Func<TConfig, int, TConfig> withSteps)
        where TConfig : ITuningConfig, IValidated
    {
        if (run.Epochs == 0)
        {
            return run;
        }

        int steps = (batchesOf(run.Epochs) + run.Trainer.Accumulation - 1) / run.Trainer.Accumulation;
        TConfig counted = withSteps(run, steps);
        var problems = new List<string>();
        counted.Validate("", problems);
        return problems is [] ? counted : throw OpenElmException.Of($"The {run.Epochs} epochs make {steps} updates, and the configuration does not fit them", problems);
    }
}
