using System.Collections.Immutable;
using System.CommandLine;
using System.Text;
using OpenElm.Distributed;
using OpenElm.Evaluation;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Suites;
using OpenElm.Evaluation.Tasks;
using OpenElm.IO;
using OpenElm.Training;
using OpenElm.Training.Reporting;

namespace OpenElm.Cli.Commands;

/// <summary>Evaluates a model, or every checkpoint of a run, on the paper's suites or any tasks.</summary>
internal static class EvaluateCommand
{
    public static Command Create(ConsoleContext context)
    {
        var arguments = new EvaluateArguments();
        var command = new Command("evaluate", "Evaluate a model as lm-evaluation-harness does: the paper's suites, or any tasks") { CreateCompare(context) };
        arguments.AddTo(command);
        command.SetAction(parsed => Job.Run(context, group =>
        {
            EvaluateRequest request = Shared(arguments.Read(parsed), group);
            if ((request.WriteOut ?? request.Scores) is not null && request.Tasks.FirstOrDefault(task => task.Task.Kind == RequestKind.Generation) is { } written)
            {
                throw new OpenElmException($"{written.Task.Name} has the model write its answers; --write-out and --scores are for log-probabilities. Leave the task out.");
            }

            (ImmutableArray<PreparedTask> tasks, ImmutableArray<LeftOutTask> leftOut) = TaskSelection.Prepare(request.Tasks, request.Data, request.SkipMissing, context.Cancellation);
            request = request with { LeftOut = leftOut };
            if (group.IsFirst())
            {
                WarnOfData(context, tasks, leftOut);
            }

            if (request.WriteOut is { } file)
            {
                WriteOut(context, tasks, file);
            }
            else if (request.Scores is { } scores)
            {
                EvaluationReport report = NewReport(context, request, scores, "scores from a file", EvaluationRun.Take(tasks, ScoreLines.Read(scores)));
                Print(context, request, report);
            }
            else if (request.AllCheckpoints)
            {
                DrawCurve(context, request, tasks);
            }
            else
            {
                Print(context, request, Evaluate(context, request, tasks, request.Model!));
            }
        }));
        return command.WithExamples(
            "openelm evaluate MODEL --suite zero-shot --data data/eval",
            "openelm evaluate MODEL --suite zero-shot,openllm,llm360 --data data/eval --allow-stand-ins --skip-missing",
            "openelm evaluate apple/OpenELM-270M --suite openllm,llm360 --compare-paper --output results/270m",
            "openelm evaluate MODEL --tasks arc_easy,mmlu,my-task.yaml --num-fewshot 5 --limit 200 --json",
            "openelm evaluate runs/quickstart --all-checkpoints --suite zero-shot --limit 200 --skip-missing",
            "openelm evaluate compare results/270m results/mine",
            "openelm evaluate --tasks arc_easy --write-out requests.jsonl",
            "openelm evaluate --tasks arc_easy --scores other-engine.jsonl");
    }

    // Each rank with its own GPU, or its part of the cores.
    static EvaluateRequest Shared(EvaluateRequest request, IProcessGroup? group) => group is null ? request : request with
    {
        Group = group,
        Loading = request.Loading with
        {
            Device = Job.DeviceOf(request.Loading.Device, group),
            Threads = request.Loading.Threads ?? Math.Max(1, Environment.ProcessorCount / group.LocalSize),
        },
    };

    static Command CreateCompare(CommandContext context)
    {
        var first = new Argument<string>("first") { Description = "Results of one model: a folder that --output wrote, or its results.json" };
        var second = new Argument<string>("second") { Description = "Results of another" };
        var page = new Option<string?>("--report") { Description = "Put the comparison into this report.html of a training run too, in the place of an earlier evaluation" };
        var compare = new Command("compare", "Compare two models document by document: differences with confidence interval and p-value") { first, second, page };
        compare.SetAction(parsed =>
        {
            EvaluationReport one = ResultsFolder.Read(parsed.GetRequiredValue(first)), other = ResultsFolder.Read(parsed.GetRequiredValue(second));
            ImmutableArray<PairedComparison> rows = ResultsComparison.Of(one, other);
            if (parsed.GetValue(page) is { } report && !HtmlReport.SetEvaluation(report, ResultsTables.ComparisonSection(one.Model, other.Model, rows)))
            {
                throw new OpenElmException($"{report} is not the report of a training run, so the comparison has no place in it; name the report.html that pretrain, finetune or align wrote.");
            }

            if (context.IsJson)
            {
                context.WriteJson(new { First = one.Model, Second = other.Model, Comparisons = rows });
                return;
            }

            context.Output.WriteLine($"first:  {one.Model}\nsecond: {other.Model}\n");
            context.Output.Write(ResultsTables.Comparison(rows));
            context.Output.WriteLine($"\n{ResultsTables.ComparisonRemark(rows)}");
        });
        return compare.WithExamples("openelm evaluate compare results/a results/b", "openelm evaluate compare results/before results/after --report runs/align-quickstart/report.html", "openelm evaluate compare results/a/results.json results/b/results.json --json");
    }

    static void WarnOfData(CommandContext context, ImmutableArray<PreparedTask> tasks, ImmutableArray<LeftOutTask> leftOut)
    {
        foreach (IGrouping<string, string> tasksOf in StandIn.Told(tasks.Select(task => (task.Task.Name, task.Task.Group, task.Shots, task.StandIns))))
        {
            context.Warn($"stand-in: {string.Join(", ", tasksOf)}: {tasksOf.Key}");
        }

        foreach (LeftOutTask task in leftOut)
        {
            context.Warn($"left out: {task.Task} ({task.Shots}-shot): {task.Reason}");
        }
    }

    static EvaluationReport Evaluate(ConsoleContext context, EvaluateRequest request, ImmutableArray<PreparedTask> tasks, string path)
    {
        using var model = EvaluatedModel.Load(path, request.Loading, context);
        long start = context.Time.GetTimestamp();
        ImmutableArray<TaskResult> results;
        EngineCounts counts;
        using (var progress = new EvaluationProgress(context, Path.GetFileName(Path.TrimEndingDirectorySeparator(path))))
        {
            var options = new EngineOptions { Cache = model.Cache, Progress = request.Group.IsFirst() ? progress : null, BatchSize = request.BatchSize, Group = request.Group, Time = context.Time };
            (results, counts) = EvaluationRun.Score(tasks, model.Tokenizer, model.Scorer, options, model.Writer, context.Cancellation);
        }

        TimeSpan time = context.Time.GetElapsedTime(start);
        if (request.Group.IsFirst())
        {
            context.Log($"{path}: {EvaluationProgress.Cost(counts, time)}");
        }

        return NewReport(context, request, path, model.Runtime, results) with { MaxLength = model.Tokenizer.MaxLength, Cost = counts, Seconds = time.TotalSeconds };
    }

    static EvaluationReport NewReport(CommandContext context, EvaluateRequest request, string model, string runtime, ImmutableArray<TaskResult> results) => new()
    {
        Model = model,
        Runtime = runtime,
        Version = CommandLine.Version,
        Date = context.Time.GetUtcNow(),
        Seed = request.Options.Seed,
        Limit = request.Options.Limit,
        Suites = request.Suites,
        Tasks = results,
        LeftOut = request.LeftOut,
    };

    static void Print(CommandContext context, EvaluateRequest request, EvaluationReport report)
    {
        if (!request.Group.IsFirst())
        {
            return;
        }

        if (request.Output is { } folder)
        {
            new ResultsFolder(folder).Write(report);
            context.Log($"Results are in {folder}.");
        }

        if (context.IsJson)
        {
            context.Output.WriteLine(ResultsDocument.Of(report).ToJson());
            return;
        }

        context.Output.Write(ResultsTables.Tasks(report));
        foreach (SuiteResult row in report.SuiteRows)
        {
            context.Output.WriteLine();
            context.Output.Write(ResultsTables.Suite(report, row, request.ComparePaper));
        }

        if (request.ComparePaper && report.Suites.All(suite => PaperNumbers.Find(suite, report.Model) is null))
        {
            context.Warn($"The paper has no numbers for a model named '{Path.GetFileName(Path.TrimEndingDirectorySeparator(report.Model))}' in these suites.");
        }
    }

    static void WriteOut(CommandContext context, ImmutableArray<PreparedTask> tasks, string file)
    {
        AtomicFile.Write(file, stream =>
        {
            using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true);
            foreach (PreparedTask task in tasks)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                RequestLines.Write(writer, task.Task.Name, task.Items);
            }
        });
        int requests = tasks.Sum(task => task.Items.Sum(item => item.Requests.Length));
        if (context.IsJson)
        {
            context.WriteJson(new { Output = file, Requests = requests, Tasks = tasks.Select(task => new { task.Task.Name, task.Shots, Documents = task.Items.Length, task.StandIns }).ToArray() });
        }
        else
        {
            context.Output.WriteLine($"{requests} requests of {tasks.Sum(task => task.Items.Length)} documents written to {file}");
        }
    }

    static void DrawCurve(ConsoleContext context, EvaluateRequest request, ImmutableArray<PreparedTask> tasks)
    {
        var run = new RunFolder(request.Model!);
        IReadOnlyList<(long Step, TrainingCheckpoint Checkpoint)> checkpoints = run.Checkpoints();
        if (checkpoints is [])
        {
            throw new OpenElmException($"{run.Path} has no checkpoints; --all-checkpoints takes the folder of a run of openelm pretrain.");
        }

        var points = ImmutableArray.CreateBuilder<CurvePoint>();
        foreach ((long step, TrainingCheckpoint checkpoint) in checkpoints)
        {
            Add(Path.GetFileName(checkpoint.Path), step, isAverage: false, checkpoint.Path);
        }

        if (Directory.Exists(run.AverageFolder))
        {
            Add("average", checkpoints[^1].Step, isAverage: true, run.AverageFolder);
        }

        if (!request.Group.IsFirst())
        {
            return;
        }

        var curve = new TrainingCurve(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(run.Path))), points.ToImmutable());
        string page = CurvePage.Write(curve, run.Path);
        bool reported = HtmlReport.SetEvaluation(run.ReportFile, CurvePage.Section(curve));
        if (context.IsJson)
        {
            context.WriteJson(new { Page = page, Checkpoints = points.Select(point => new { point.Name, point.Step, point.IsAverage, Results = ResultsDocument.Of(point.Report) }).ToArray() });
            return;
        }

        context.Output.Write(curve.ToMarkdown());
        context.Log(reported ? $"The pictures are in {run.ReportFile}, and alone in {page}." : $"The page is {page}.");

        void Add(string name, long step, bool isAverage, string path)
        {
            EvaluationReport report = Evaluate(context, request, tasks, path);
            if (request.Group.IsFirst())
            {
                new ResultsFolder(Path.Combine(request.Output ?? Path.Combine(run.Path, "evaluation"), name)).Write(report);
            }

            points.Add(new CurvePoint(name, step, isAverage, report));
        }
    }
}
