using System.CommandLine;
using OpenElm.Training;

namespace OpenElm.Cli.Commands;

/// <summary>Tunes a model on instructions or conversations.</summary>
internal static class FinetuneCommand
{
    public static Command Create(ConsoleContext context)
    {
        var arguments = new TrainingArguments();
        var command = new Command("finetune", "Tune a model on instructions or conversations: examples, training, samples, report");
        arguments.AddTo(command);
        command.SetAction(parsed => arguments.Run<FinetuneConfig>(
            parsed, context, (run, _) => FinetuneRun.Plan(run, Environment.CurrentDirectory, context.Cancellation), (run, options, observer) =>
            {
                using var tuning = new FinetuneRun(run, options, observer, context.Cancellation);
                return tuning.Execute(context.Cancellation);
            }));
        return command.WithExamples(
            "openelm finetune configs/training/finetune-quickstart.yaml",
            "openelm finetune configs/training/finetune-quickstart.yaml --set model=MODEL --set data.files=[my.jsonl]",
            "openelm finetune configs/training/finetune-quickstart.yaml --resume auto",
            "openelm finetune configs/training/finetune-quickstart.yaml --plan --json",
            "openelm finetune configs/training/finetune-quickstart-lora.yaml",
            "openelm chat runs/finetune-quickstart/average --temperature 0");
    }
}
