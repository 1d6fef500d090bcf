using System.CommandLine;
using OpenElm.Checkpoints;
using OpenElm.Training;

namespace OpenElm.Cli.Commands;

/// <summary>Averages the weights of checkpoints: any model folders, or the newest of a run.</summary>
internal static class AverageCommand
{
    public static Command Create(CommandContext context)
    {
        var models = new Argument<string[]>("models")
        {
            Description = "Model folders to average, or with --last the folder of one run",
            Arity = ArgumentArity.OneOrMore,
        };
        var last = new Option<int?>("--last") { Description = "Average this many of the newest checkpoints of the run" };
        var output = new Option<string>("--output", "-o") { Description = "The model folder to write", Required = true };
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the output folder if it exists" };
        var command = new Command("average", "Average the weights of checkpoints of one model, in double precision") { models, last, output, overwrite };
        command.SetAction(parsed =>
        {
            string[] given = parsed.GetRequiredValue(models);
            string[] sources = parsed.GetValue(last) is { } count ? NewestOf(given, count) : given;
            string destination = parsed.GetRequiredValue(output);
            CheckpointAveraging.Average(sources, destination, parsed.GetValue(overwrite));
            if (context.IsJson)
            {
                context.WriteJson(new { Output = destination, Sources = sources });
            }
            else
            {
                context.Log($"Averaged {string.Join(", ", sources)}.");
                context.Output.WriteLine(destination);
            }
        });
        return command.WithExamples(
            "openelm average runs/quickstart --last 5 --output averaged",
            "openelm average checkpoint-a checkpoint-b checkpoint-c --output averaged --json");
    }

    static string[] NewestOf(string[] given, int count)
    {
        if (given is not [var run])
        {
            throw new OpenElmException($"--last takes the folder of one run; {given.Length} folders were given.");
        }

        return [.. new RunFolder(run).NewestForAverage(count).Select(checkpoint => checkpoint.Path)];
    }
}
