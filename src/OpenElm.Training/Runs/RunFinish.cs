using OpenElm.Checkpoints;
using OpenElm.Distributed;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What follows the last update: averaged weights, comparison with a bigram model, samples.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
internal sealed class RunFinish<TBatch>(RunParts<TBatch> parts, IRunObserver observer)
{
    readonly RunFolder _folder = parts.Start.Folder;
    readonly CheckpointConfig _checkpoints = parts.Config.Checkpoints;
    readonly PhaseTimings _timings = parts.Timings;

    /// <summary>Does all of it; the trainer's model holds the averaged weights afterwards.</summary>
    /// <returns>The outcome, without the numbers of the training itself.</returns>
    public RunResult Finish(CancellationToken cancel)
    {
        string trained = _folder.CheckpointFolder(parts.Trainer.Step);
        ValidationResult? averaged = null;
        parts.Trainer.WriteMovingAverage(_folder.EmaFolder);
        if (_checkpoints.AverageLast > 0 && Average())
        {
            trained = _folder.AverageFolder;
            averaged = _timings.Measure("validation of the average", () => ValidateAverage(cancel));
        }

        double? bigram = parts.Options.Group.IsFirst() && parts.BigramLoss is { } measure ? _timings.Measure("bigram baseline", () => measure(cancel)) : null;
        return new RunResult
        {
            Output = _folder.Path,
            Model = parts.BaseModel ?? trained,
            Adapter = parts.BaseModel is null ? null : trained,
            Steps = parts.Trainer.Step,
            TokensSeen = parts.Trainer.TokensSeen,
            TrainingLoss = double.NaN,
            AverageValidationLoss = averaged?.Loss,
            BitsPerByte = averaged?.BitsPerByte,
            BigramLoss = bigram,
            DataWaitShare = 0,
            TokensPerSecond = 0,
            Samples = _timings.Measure("samples", () => WriteSamples(parts.BaseModel ?? trained, parts.BaseModel is null ? null : trained, cancel)),
            Timings = _timings.ByPhase,
        };
    }

    bool Average()
    {
        int regular = _folder.Checkpoints().Count(entry => entry.Checkpoint.ReadState().Interval);
        if (regular < _checkpoints.AverageLast)
        {
            observer.OnMessage($"No average was made: the run saved {regular} regular checkpoints, and checkpoints.average_last is {_checkpoints.AverageLast}.");
            return false;
        }

        string[] sources = [.. _folder.NewestForAverage(_checkpoints.AverageLast).Select(checkpoint => checkpoint.Path)];
        return _timings.Measure("averaging", () =>
        {
            parts.Options.Group.OnFirstRank(() => CheckpointAveraging.Average(sources, _folder.AverageFolder, overwrite: true));
            observer.OnMessage($"Averaged the last {sources.Length} checkpoints into {_folder.AverageFolder}.");
            return true;
        });
    }

    ValidationResult? ValidateAverage(CancellationToken cancel)
    {
        if (parts.Validator is null)
        {
            return null;
        }

        parts.Trainer.LoadWeights(_folder.AverageFolder);
        return parts.Validator.Run(parts.Trainer.Model, cancel);
    }

    List<TextSample> WriteSamples(string model, string? adapter, CancellationToken cancel)
    {
        var samples = new List<TextSample>();
        if (parts.Options.Group.IsFirst() && parts.Options.Sampler is { } sampler && parts.Config.Samples is { } wanted)
        {
            foreach (string prompt in wanted.Prompts)
            {
                cancel.ThrowIfCancellationRequested();
                samples.Add(new TextSample(prompt, sampler(model, adapter, parts.EncodePrompt(prompt), wanted, parts.Config.Seed)));
                observer.OnSample(new GeneratedSample(parts.Trainer.Step, prompt, samples[^1].Continuation));
            }
        }

        return samples;
    }
}
