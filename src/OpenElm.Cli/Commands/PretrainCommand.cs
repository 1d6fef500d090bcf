using System.CommandLine;
using OpenElm.Training;

namespace OpenElm.Cli.Commands;

/// <summary>Trains a model from a run configuration.</summary>
internal static class PretrainCommand
{
    public static Command Create(ConsoleContext context)
    {
        var arguments = new TrainingArguments();
        var command = new Command("pretrain", "Train a model on text: tokenizer, training, averaged checkpoint, samples, report");
        arguments.AddTo(command);
        command.SetAction(parsed => arguments.Run<RunConfig>(parsed, context, TrainingPlan.Of, (run, options, observer) =>
        {
            using var pretraining = new PretrainRun(run, options, observer, context.Cancellation);
            return pretraining.Execute(context.Cancellation);
        }));
        return command.WithExamples(
            "openelm pretrain configs/training/quickstart.yaml",
            "openelm pretrain configs/training/quickstart.yaml --set output=runs/second --set seed=1",
            "openelm pretrain configs/training/quickstart.yaml --resume auto",
            "openelm pretrain configs/training/270m.yaml --plan --json",
            "openelm pretrain configs/training/270m.yaml --device cuda --torch /opt/libtorch/lib");
    }
}
