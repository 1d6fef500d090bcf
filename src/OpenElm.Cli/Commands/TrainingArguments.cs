using System.CommandLine;
using OpenElm.Distributed;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;
using OpenElm.Training;
using OpenElm.Training.Reporting;
using OpenElm.Training.Torch;
using OpenElm.Yaml;

namespace OpenElm.Cli.Commands;

/// <summary>The command line of every verb that trains: a configuration, and how the run is started.</summary>
internal sealed class TrainingArguments
{
    readonly RunArguments _configuration = new();
    readonly Option<string> _device = SharedOptions.Device();
    readonly Option<string?> _torchFolder = SharedOptions.TorchFolder();
    readonly Option<string?> _resume = new("--resume") { Description = "Go on from 'auto' (the newest whole checkpoint of the run) or from a checkpoint folder" };
    readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace the run that is in the output folder" };
    readonly Option<bool> _plan = new("--plan") { Description = "Print the memory and time the run needs, and do not start it" };

    /// <summary>Puts arguments and options into a verb.</summary>
    public void AddTo(Command command)
    {
        command.Add(_configuration.Config);
        foreach (Option option in new Option[] { _configuration.Set, _device, _torchFolder, _resume, _overwrite, _plan })
        {
            command.Add(option);
        }
    }

    /// <summary>Runs the verb: reads the configuration, then plans or trains, and prints.</summary>
    /// <typeparam name="TConfig">The configuration.</typeparam>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">Where it prints.</param>
    /// <param name="plan">Says what the run needs on a device.</param>
    /// <param name="train">Runs it to its end.</param>
    public void Run<TConfig>(
        ParseResult parsed, ConsoleContext context, Func<TConfig, string, TrainingPlan> plan, Func<TConfig, RunOptions, IRunObserver, RunResult> train)
        where TConfig : class, ITrainingConfig
    {
        TConfig run = StrictYaml.Read<TConfig>(parsed.GetRequiredValue(_configuration.Config), parsed.GetValue(_configuration.Set));
        TorchLibrary.EnsureLoaded(new TorchOptions { Folder = parsed.GetValue(_torchFolder) });
        string device = parsed.GetValue(_device)!;
        if (parsed.GetValue(_plan))
        {
            TrainingText.Print(context, plan(run, device), TorchLibrary.HasDevice(device) ? MatmulProbe.Measure(device, run.Trainer.Precision) : null); // memory can be planned for a GPU that is elsewhere
            return;
        }

        Job.Run(context, group =>
        {
            Job.ShareCores(group);
            var options = new RunOptions
            {
                Device = Job.DeviceOf(device, group),
                Resume = parsed.GetValue(_resume),
                Overwrite = parsed.GetValue(_overwrite),
                Time = context.Time,
                Sampler = WriteSample,
                Group = group,
            };
            RunResult result = train(run, options, Job.ObserverOf(context, group, new ProgressReporter(context, logInterval: 1)));
            if (group.IsFirst())
            {
                TrainingText.Print(context, result);
            }
        });
    }

    static string WriteSample(string modelFolder, string? adapterFolder, ReadOnlyMemory<int> prompt, SampleConfig options, int seed)
    {
        using TextModel model = TextModel.Load(modelFolder, new InferenceOptions { Adapters = adapterFolder is null ? [] : [new AdapterPath(adapterFolder)] });
        using GenerationSession session = model.CreateSession();
        return string.Concat(session.Start(prompt, new GenerationOptions
        {
            MaxTokens = options.MaxTokens,
            Sampling = new SamplingOptions { Temperature = options.Temperature, TopP = options.Temperature > 0 ? options.TopP ?? 0.95 : 1, Seed = seed },
        }).Text());
    }
}
