using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.Tokenization;
using OpenElm.Training.Reporting;

namespace OpenElm.Training;

/// <summary>What follows the last update: averaged weights, comparison with a bigram model, samples.</summary>
internal sealed class RunFinish(
    RunConfig run, PretrainOptions options, IRunObserver observer, RunFolder folder, SentencePieceTokenizer tokenizer, Trainer trainer, Validator? validator,
    PhaseTimings timings)
{
    /// <summary>Does all of it; the trainer's model holds the averaged weights afterwards.</summary>
    /// <returns>The outcome, without the numbers of the training itself.</returns>
    public PretrainResult Finish(CancellationToken cancel)
    {
        string model = folder.CheckpointFolder(trainer.Step);
        ValidationResult? averaged = null;
        if (trainer.MovingAverage(tokenizer.ModelBytes) is { } movingAverage)
        {
            ModelFolderWriter.Write(folder.EmaFolder, movingAverage, overwrite: true);
        }

        if (run.Checkpoints.AverageLast > 0 && Average())
        {
            model = folder.AverageFolder;
            averaged = timings.Measure("validation of the average", () => ValidateAverage(cancel));
        }

        double? bigram = run.Validation is { BigramBaseline: true } ? timings.Measure("bigram baseline", () => BigramLoss(cancel)) : null;
        return new PretrainResult
        {
            Output = folder.Path,
            Model = model,
            Steps = trainer.Step,
            TokensSeen = trainer.TokensSeen,
            TrainingLoss = double.NaN,
            AverageValidationLoss = averaged?.Loss,
            BitsPerByte = averaged?.BitsPerByte,
            BigramLoss = bigram,
            DataWaitShare = 0,
            TokensPerSecond = 0,
            Samples = timings.Measure("samples", () => WriteSamples(model, cancel)),
            Timings = timings.ByPhase,
        };
    }

    bool Average()
    {
        int regular = folder.Checkpoints().Count(entry => entry.Checkpoint.ReadState().Interval);
        if (regular < run.Checkpoints.AverageLast)
        {
            observer.OnMessage($"No average was made: the run saved {regular} regular checkpoints, and checkpoints.average_last is {run.Checkpoints.AverageLast}.");
            return false;
        }

        string[] sources = [.. folder.NewestForAverage(run.Checkpoints.AverageLast).Select(checkpoint => checkpoint.Path)];
        return timings.Measure("averaging", () =>
        {
            CheckpointAveraging.Average(sources, folder.AverageFolder, overwrite: true);
            observer.OnMessage($"Averaged the last {sources.Length} checkpoints into {folder.AverageFolder}.");
            return true;
        });
    }

    ValidationResult? ValidateAverage(CancellationToken cancel)
    {
        if (validator is null)
        {
            return null;
        }

        using ModelFolder average = ModelFolder.Open(folder.AverageFolder);
        trainer.Model.Load(average.Weights);
        return validator.Run(trainer.Model, cancel);
    }

    // The same token pairs that the model trained on and is validated on.
    double BigramLoss(CancellationToken cancel)
    {
        var bigram = new BigramModel(trainer.Model.Config.VocabSize);
        var text = new HeldOutText(run.Data with { PreparedDir = null }, options.BaseDirectory, tokenizer, run.Trainer.MicroBatch);
        foreach (HeldOutBatch batch in text.Read(cancel))
        {
            bigram.Learn(batch.Batch, tokenizer.PadId);
        }

        return bigram.Loss(validator!.Batches(cancel).Select(batch => batch.Batch), tokenizer.PadId);
    }

    List<TextSample> WriteSamples(string model, CancellationToken cancel)
    {
        var samples = new List<TextSample>();
        if (options.Sampler is { } sampler && run.Samples is { } wanted)
        {
            foreach (string prompt in wanted.Prompts)
            {
                cancel.ThrowIfCancellationRequested();
                samples.Add(new TextSample(prompt, sampler(model, prompt, wanted, run.Seed)));
                observer.OnSample(new GeneratedSample(trainer.Step, prompt, samples[^1].Continuation));
            }
        }

        return samples;
    }
}
