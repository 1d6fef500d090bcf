using System.CommandLine;
using OpenElm.Training;

namespace OpenElm.Cli.Commands;

/// <summary>Tunes a model on preferences.</summary>
internal static class AlignCommand
{
    public static Command Create(ConsoleContext context)
    {
        var arguments = new TrainingArguments();
        var command = new Command("align", "Tune a model on pairs of a chosen and a rejected response (DPO): reference model, training, samples, report");
        arguments.AddTo(command);
        command.SetAction(parsed => arguments.Run<AlignConfig>(
            parsed, context, (run, _) => AlignRun.Plan(run, Environment.CurrentDirectory, context.Cancellation), (run, options, observer) =>
            {
                using var tuning = new AlignRun(run, options, observer, context.Cancellation);
                return tuning.Execute(context.Cancellation);
            }));
        return command.WithExamples(
            "openelm align configs/training/align-quickstart.yaml",
            "openelm align configs/training/align-quickstart.yaml --set model=MODEL --set data.files=[pairs.jsonl] --set loss.kind=hinge",
            "openelm align configs/training/align-quickstart.yaml --resume auto",
            "openelm align configs/training/align-270m.yaml --plan --json");
    }
}
