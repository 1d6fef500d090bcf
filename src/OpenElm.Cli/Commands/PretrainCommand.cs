using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;
using OpenElm.Training;
using OpenElm.Training.Torch;

namespace OpenElm.Cli.Commands;

/// <summary>Trains a model from a run configuration.</summary>
internal static class PretrainCommand
{
    public static Command Create(ConsoleContext context)
    {
        var arguments = new RunArguments();
        var device = SharedOptions.Device();
        var torchFolder = SharedOptions.TorchFolder();
        var resume = new Option<string?>("--resume") { Description = "Go on from 'auto' (the newest whole checkpoint of the run) or from a checkpoint folder" };
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the run that is in the output folder" };
        var plan = new Option<bool>("--plan") { Description = "Print the memory and time the run needs, and do not start it" };
        var command = new Command("pretrain", "Train a model on text: tokenizer, training, averaged checkpoint, samples, report") { arguments.Config, arguments.Set, device, torchFolder, resume, overwrite, plan };
        command.SetAction(parsed =>
        {
            RunConfig run = arguments.Read(parsed);
            TorchLibrary.EnsureLoaded(new TorchOptions { Folder = parsed.GetValue(torchFolder) });
            string on = parsed.GetValue(device)!;
            if (parsed.GetValue(plan))
            {
                Print(context, TrainingPlan.Of(run), MatmulProbe.Measure(on, run.Trainer.Precision));
                return;
            }

            var options = new RunOptions
            {
                Device = on,
                Resume = parsed.GetValue(resume),
                Overwrite = parsed.GetValue(overwrite),
                Time = context.Time,
                Sampler = WriteSample,
            };
            using var pretraining = new PretrainRun(run, options, new ProgressReporter(context, logInterval: 1), context.Cancellation);
            Print(context, pretraining.Execute(context.Cancellation));
        });
        return command.WithExamples(
            "openelm pretrain configs/training/quickstart.yaml",
            "openelm pretrain configs/training/quickstart.yaml --set output=runs/second --set seed=1",
            "openelm pretrain configs/training/quickstart.yaml --resume auto",
            "openelm pretrain configs/training/270m.yaml --plan --json",
            "openelm pretrain configs/training/270m.yaml --device cuda --torch /opt/libtorch/lib");
    }

    static string WriteSample(string modelFolder, string prompt, SampleConfig options, int seed)
    {
        using TextModel model = TextModel.Load(modelFolder);
        return string.Concat(model.GenerateText(prompt, new GenerationOptions
        {
            MaxTokens = options.MaxTokens,
            Sampling = new SamplingOptions { Temperature = options.Temperature, TopP = options.TopP, Seed = seed },
        }));
    }

    static void Print(CommandContext context, TrainingPlan plan, double flopsPerSecond)
    {
        TimeSpan time = plan.Time(flopsPerSecond);
        if (context.IsJson)
        {
            context.WriteJson(new { Plan = plan, FlopsPerSecond = flopsPerSecond, TrainingPlan.ExpectedUtilisation, Seconds = time.TotalSeconds });
            return;
        }

        foreach ((string name, long bytes) in new[]
        {
            ("weights", plan.WeightBytes), ("gradients", plan.GradientBytes), ("optimizer", plan.OptimizerBytes),
            ("activations", plan.ActivationBytes), ("logits", plan.LossBytes), ("the program", TrainingPlan.ProgramBytes), ("memory in all", plan.TotalBytes), ("one checkpoint", plan.CheckpointBytes),
        })
        {
            context.Output.WriteLine($"{name,-16} {Quantity.Bytes(bytes),12}");
        }

        context.Output.WriteLine($"{"parameters",-16} {plan.Parameters,12:n0}");
        context.Output.WriteLine($"{"tokens",-16} {plan.Tokens,12:n0}");
        context.Output.WriteLine($"{"time",-16} {time.TotalHours,12:n2} hours at {TrainingPlan.ExpectedUtilisation:p0} of the {flopsPerSecond / 1e9:n0} Gflop/s that matrix products reach here");
    }

    static void Print(CommandContext context, RunResult result)
    {
        if (context.IsJson)
        {
            context.WriteJson(result);
            return;
        }

        TextWriter output = context.Output;
        foreach (TextSample sample in result.Samples)
        {
            output.WriteLine($"\n> {sample.Prompt}{sample.Continuation}");
        }

        output.WriteLine();
        output.WriteLine($"training loss            {result.TrainingLoss:f4}");
        WriteIfKnown("validation loss", result.ValidationLoss);
        WriteIfKnown("  of the average", result.AverageValidationLoss);
        WriteIfKnown("  of a bigram model", result.BigramLoss);
        WriteIfKnown("bits per byte", result.BitsPerByte);
        output.WriteLine($"tokens trained on        {result.TokensSeen:n0}");
        output.WriteLine($"tokens a second          {result.TokensPerSecond:n0}");
        output.WriteLine($"wait for data            {result.DataWaitShare:p2}");
        output.WriteLine($"model                    {result.Model}");
        output.WriteLine($"report                   {new RunFolder(result.Output).ReportFile}");

        void WriteIfKnown(string name, double? value)
        {
            if (value is { } known)
            {
                output.WriteLine($"{name,-24} {known:f4}");
            }
        }
    }
}
