using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Distributed;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;
using OpenElm.Inference;

namespace OpenElm.Cli.Commands;

/// <summary>The options of <c>openelm evaluate</c>.</summary>
internal sealed class EvaluateArguments
{
    /// <summary>The variable that names the folder of answers where <c>--cache</c> does not.</summary>
    public const string CacheVariable = "OPENELM_CACHE";

    public const string Inference = "inference", Training = "training";

    readonly Argument<string?> _model = new("model") { Description = "A model of any format: a folder, or a file (GGUF, CoreNet, llama2.c); with --all-checkpoints, the folder of a run", Arity = ArgumentArity.ZeroOrOne };
    readonly Option<string[]> _suite = new("--suite") { Description = $"The paper's suites with their examples: {string.Join(", ", EvaluationSuite.All.Select(suite => suite.Name))}; several with commas", DefaultValueFactory = _ => [] };
    readonly Option<string[]> _tasks = new("--tasks", "-t") { Description = "Tasks or groups by the harness' names, or YAML files of your own; several with commas", DefaultValueFactory = _ => [] };
    readonly Option<string?> _data = new("--data") { Description = $"The folder of evaluation data (default: {EvaluationData.EnvironmentVariable})" };
    readonly Option<int?> _shots = new("--num-fewshot", "-n") { Description = "Solved examples before each question, for --tasks; suites have their own" };
    readonly Option<int?> _limit = new("--limit", "-l") { Description = "Only so many documents of each task" };
    readonly Option<int> _seed = new("--seed") { Description = "Seed of the examples", DefaultValueFactory = _ => new ItemOptions().Seed };
    readonly Option<bool> _allowStandIns = new("--allow-stand-ins") { Description = "Where official data are missing, take the validation split for the test split, and examples from the evaluated documents (never the document itself); told and marked everywhere, for such numbers do not compare with published ones" };
    readonly Option<bool> _skipMissing = new("--skip-missing") { Description = "Leave out tasks whose data cannot be read, with a warning, instead of stopping" };

    readonly Option<string?> _tokenizer = new("--tokenizer") { Description = "A SentencePiece tokenizer.model instead of the model's own" };
    readonly Option<string> _runtime = new("--runtime") { Description = "Which of the runtimes computes", DefaultValueFactory = _ => Inference };
    readonly Option<string> _device = SharedOptions.Device();
    readonly Option<string?> _torch = SharedOptions.TorchFolder();
    readonly Option<int?> _maxLength = new("--max-length") { Description = "The longest sequence instead of the model's context length" };
    readonly Option<int?> _threads = new("--threads") { Description = "Threads that share a product instead of one a processor" };
    readonly Option<string?> _kernels = new("--kernels") { Description = "Kernel set instead of the fastest (or of OPENELM_KERNELS)" };
    readonly Option<KvCacheType> _kv = new("--kv") { Description = "How past keys and values are kept: F32, BF16 or I8" };
    readonly AdapterArguments _adapters = new();
    readonly Option<int?> _batchSize = new("--batch-size", "-b") { Description = "Contexts given to the model at a time; scores do not depend on it" };
    readonly Option<string?> _cache = new("--cache") { Description = $"Folder of known answers, by which a stopped evaluation goes on and a repeated one is instant (default: {CacheVariable}, then the user's own data folder)" };
    readonly Option<bool> _noCache = new("--no-cache") { Description = "Neither read nor keep answers" };

    readonly Option<string?> _output = new("--output", "-o") { Description = "Folder for results.json and a line for each document" };
    readonly Option<bool> _comparePaper = new("--compare-paper") { Description = "Show the paper's numbers beside, where the model's name is one of the paper's" };
    readonly Option<string?> _writeOut = new("--write-out") { Description = "Write every request as a JSON line to this file; needs no model" };
    readonly Option<string?> _scores = new("--scores") { Description = "Take log-probabilities for exactly these requests from this file instead of a model" };
    readonly Option<bool> _allCheckpoints = new("--all-checkpoints") { Description = "Evaluate every checkpoint of a run and draw accuracy against iterations into its evaluation.html" };

    public EvaluateArguments()
    {
        _runtime.AcceptOnlyFromAmong(Inference, Training);
    }

    public void AddTo(Command command)
    {
        command.Arguments.Add(_model);
        foreach (Option option in new Option[]
        {
            _suite, _tasks, _data, _shots, _limit, _seed, _allowStandIns, _skipMissing, _output, _comparePaper, _allCheckpoints, _writeOut, _scores,
            _batchSize, _cache, _noCache, _runtime, _device, _torch, _tokenizer, _maxLength, _threads, _kernels, _kv,
        })
        {
            command.Options.Add(option);
        }

        _adapters.AddTo(command);
    }

    /// <summary>Reads what was asked for; all contradictions are told at once.</summary>
    public EvaluateRequest Read(ParseResult parsed)
    {
        string? model = parsed.GetValue(_model), writeOut = parsed.GetValue(_writeOut), scores = parsed.GetValue(_scores), output = parsed.GetValue(_output);
        bool all = parsed.GetValue(_allCheckpoints);
        string[] suites = Split(parsed.GetValue(_suite)!), tasks = Split(parsed.GetValue(_tasks)!);
        string runtime = parsed.GetRequiredValue(_runtime), device = parsed.GetRequiredValue(_device);
        var problems = new List<string>();
        void Refuse(bool wrong, string problem)
        {
            if (wrong)
            {
                problems.Add(problem);
            }
        }

        Refuse(suites is [] && tasks is [], "name a --suite or --tasks");
        Refuse(model is null && writeOut is null && scores is null, "name a model, or ask for --write-out or --scores");
        Refuse(model is not null && scores is not null, "--scores stands for a model; leave one of them out");
        Refuse(writeOut is not null && (model is not null || scores is not null), "--write-out writes requests only; leave the model or --scores out");
        Refuse(all && model is null, "--all-checkpoints needs the folder of a run");
        Refuse(suites is not [] && parsed.GetValue(_shots) is not null, "--num-fewshot is for --tasks; a suite has its own numbers of examples");
        Refuse(parsed.GetValue(_shots) is < 0, $"--num-fewshot is {parsed.GetValue(_shots)}; it must be at least 0");
        Refuse(parsed.GetValue(_limit) is < 1, $"--limit is {parsed.GetValue(_limit)}; it must be at least 1");
        Refuse(parsed.GetValue(_batchSize) is < 1, $"--batch-size is {parsed.GetValue(_batchSize)}; it must be at least 1");
        Refuse(runtime == Inference && device != "cpu", $"the inference runtime runs on cpu only; add --runtime {Training} for --device {device}");
        Refuse(runtime == Inference && parsed.GetValue(_torch) is not null, $"--torch is for the training runtime; add --runtime {Training}");
        Refuse(
            runtime == Training && ((parsed.GetValue(_threads), parsed.GetValue(_kernels)) != (null, null) || parsed.GetValue(_kv) != default),
            $"--threads, --kernels and --kv are for the {Inference} runtime; leave them out with --runtime {Training}");
        Refuse(parsed.GetValue(_noCache) && parsed.GetValue(_cache) is not null, "--cache and --no-cache exclude each other");
        string? data = parsed.GetValue(_data) ?? Environment.GetEnvironmentVariable(EvaluationData.EnvironmentVariable);
        Refuse(string.IsNullOrEmpty(data), $"name the folder of evaluation data with --data or the variable {EvaluationData.EnvironmentVariable}");
        if (problems is not [])
        {
            throw OpenElmException.Of("The evaluation cannot start", problems);
        }

        var options = new ItemOptions
        {
            Shots = parsed.GetValue(_shots),
            Limit = parsed.GetValue(_limit),
            Seed = parsed.GetValue(_seed),
            AllowStandIns = parsed.GetValue(_allowStandIns),
        };
        ImmutableArray<EvaluationSuite> found = [.. suites.Select(EvaluationSuite.Find)];
        return new EvaluateRequest
        {
            Model = model,
            Suites = found,
            Tasks = TaskSelection.Of(found, tasks, options),
            Data = new EvaluationData(data!),
            Options = options,
            SkipMissing = parsed.GetValue(_skipMissing),
            Output = output,
            ComparePaper = parsed.GetValue(_comparePaper),
            WriteOut = writeOut,
            Scores = scores,
            AllCheckpoints = all,
            BatchSize = parsed.GetValue(_batchSize),
            Loading = new EvaluatedModelOptions
            {
                Runtime = runtime,
                Device = device,
                TorchFolder = parsed.GetValue(_torch),
                Tokenizer = parsed.GetValue(_tokenizer),
                MaxLength = parsed.GetValue(_maxLength),
                Threads = parsed.GetValue(_threads),
                Kernels = parsed.GetValue(_kernels),
                Kv = parsed.GetValue(_kv),
                Adapters = _adapters.Read(parsed),
                CacheFolder = parsed.GetValue(_noCache) ? null : parsed.GetValue(_cache) ?? DefaultCache(),
            },
        };
    }

    static string[] Split(string[] given) => [.. given.SelectMany(value => value.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))];

    static string DefaultCache() => Environment.GetEnvironmentVariable(CacheVariable) is { Length: > 0 } folder
        ? folder
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData), "openelm", "answers");
}

/// <summary>What the user asked for, checked.</summary>
internal sealed record EvaluateRequest
{
    /// <summary>The ranks that evaluate together; null for a process that is alone.</summary>
    public IProcessGroup? Group { get; init; }

    public required string? Model { get; init; }

    public required ImmutableArray<EvaluationSuite> Suites { get; init; }

    public required ImmutableArray<SelectedTask> Tasks { get; init; }

    public required EvaluationData Data { get; init; }

    public required ItemOptions Options { get; init; }

    public required bool SkipMissing { get; init; }

    /// <summary>Known once the data have been read.</summary>
    public ImmutableArray<LeftOutTask> LeftOut { get; init; } = [];

    public required string? Output { get; init; }

    public required bool ComparePaper { get; init; }

    public required string? WriteOut { get; init; }

    public required string? Scores { get; init; }

    public required bool AllCheckpoints { get; init; }

    public required int? BatchSize { get; init; }

    public required EvaluatedModelOptions Loading { get; init; }
}
