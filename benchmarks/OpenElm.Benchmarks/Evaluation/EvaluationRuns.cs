using System.Collections.Immutable;
using System.Diagnostics;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Tasks;
using OpenElm.Inference;
using OpenElm.Scoring;
using OpenElm.Tokenization;

namespace OpenElm.Benchmarks.Evaluation;

/// <summary>
/// The engine of <c>openelm evaluate</c> against scoring one request at a time, in turn, on the same tokens. Both must give the same bits,
/// on the training runtime (with random weights of the model's shape) the same within 1e-5.
/// With <c>--threads 1</c>, the processor's time is measured: it says the same on a machine that is not quiet. The bound is the ratio that an engine would have which
/// computes each distinct token once and each wanted row of logits once, all in full passes, and has nothing else to do: <see cref="FullPasses"/> measures what these cost.
/// <c>evaluation MODEL [TOKENIZER] [--documents N] [--repeats R] [--threads N] [--runtime training] [--set BEGINNING] [--data FOLDER]</c>.
/// </summary>
internal static class EvaluationRuns
{
    const string Usage = "evaluation MODEL [TOKENIZER] [--documents N] [--repeats R] [--threads N] [--runtime training] [--set BEGINNING] [--data FOLDER]";

    public static int Run(string[] args)
    {
        (string[] paths, Dictionary<string, string> named) = Read(args);
        if (paths.Length is < 1 or > 2)
        {
            Console.Error.WriteLine(Usage);
            return 2;
        }

        string data = named.GetValueOrDefault("--data") ?? Environment.GetEnvironmentVariable(EvaluationData.EnvironmentVariable) ?? "../shared/data/eval";
        (int documents, int repeats) = (int.Parse(named.GetValueOrDefault("--documents", "24")), int.Parse(named.GetValueOrDefault("--repeats", "3")));
        int threads = int.Parse(named.GetValueOrDefault("--threads", $"{Environment.ProcessorCount}"));
        using TextModel text = TextModel.Load(paths[0], new InferenceOptions { Threads = threads }, tokenizer: paths.ElementAtOrDefault(1));
        SentencePieceTokenizer tokenizer = text.RequireTokenizer("The benchmark");
        int length = Math.Min(text.Model.Config.MaxContextLength, text.Model.MaxLength);
        using MeasuredRuntime runtime = named.GetValueOrDefault("--runtime") == "training" ? MeasuredRuntime.Training(text, tokenizer, threads) : MeasuredRuntime.Inference(text, tokenizer);
        Console.WriteLine($"{Path.GetFileName(paths[0])}: {runtime.Name}, {threads} threads, context {length}, {documents} documents, medians of {repeats}, {(threads == 1 ? "processor" : "wall")} time");
        (double body, double head) = FullPasses.Measure(runtime.Engine, tokenizer.PieceCount, Now, repeats);
        Console.WriteLine($"in full passes: {body * 1e3:F2} ms a token, {head * 1e3:F2} ms more where its logits are wanted");
        Console.WriteLine();
        Console.WriteLine("| requests | asked | tokens asked | computed | recomputed | one at a time, s | engine, s | ratio | range | bound |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|---|");
        Measure("HellaSwag, 0 examples", BenchmarkRequests.HellaSwag(data, documents, shots: 0));
        Measure("ARC-Challenge, 5 examples", BenchmarkRequests.Arc(data, documents));
        Measure("HellaSwag, 10 examples", BenchmarkRequests.HellaSwag(data, documents, shots: 10));
        Measure("MMLU, 5 examples", BenchmarkRequests.Mmlu(data, documents, "anatomy", "world_religions"));
        return 0;

        TimeSpan Now() => threads == 1 ? Environment.CpuUsage.TotalTime : Stopwatch.GetElapsedTime(0);

        void Measure(string name, IEnumerable<EvaluationRequest> requests)
        {
            if (!name.StartsWith(named.GetValueOrDefault("--set", ""), StringComparison.OrdinalIgnoreCase))
            {
                return;
            }

            var encoder = new RequestTokenizer(tokenizer, length);
            TokenizedRequest[] tokens = [.. requests.Select(request => encoder.Encode(request, RequestKind.Continuation))];
            (List<double> alone, List<double> together, EngineCounts counts) = ([], [], default);
            for (int repeat = -1; repeat < repeats; repeat++)
            {
                TokenizedRequest[] asked = repeat < 0 ? tokens[..4] : tokens; // the first round only warms up
                TimeSpan begin = Now();
                using IContinuationScorer scorer = runtime.Engine();
                EngineResult result = EvaluationEngine.Run(asked, scorer);
                TimeSpan engine = Now() - begin;
                begin = Now();
                ContinuationScore[] expected = [.. asked.Select(request => runtime.One(request.Windows[0]))];
                TimeSpan single = Now() - begin;
                if (result.Scores.Zip(expected).Any(pair => !runtime.AreSame(pair.First, pair.Second)))
                {
                    throw new InvalidOperationException("The engine's scores differ.");
                }

                if (repeat >= 0)
                {
                    alone.Add(single.TotalSeconds);
                    together.Add(engine.TotalSeconds);
                    counts = result.Counts;
                }
            }

            (double a, double b) = (Median(alone), Median(together));
            double[] ratios = [.. alone.Zip(together, (x, y) => x / y).Order()];
            double bound = Median(alone) / ((counts.TokensDistinct * body) + (WantedRows(tokens) * head));
            Console.WriteLine($"| {name} | {counts.Requests} | {counts.TokensAsked} | {counts.TokensComputed} ({1 - counts.Saved:P1}) | {counts.Recomputed:P1} "
                + $"| {a:F2} | {b:F2} | {a / b:F2} | {ratios[0]:F2}–{ratios[^1]:F2} | {bound:F2} |");
        }
    }

    // One for each context, and one for each token of a continuation but the first.
    static int WantedRows(TokenizedRequest[] requests)
    {
        TokenWindow[] windows = [.. requests.SelectMany(request => request.Windows)];
        return windows.Select(window => string.Join(' ', window.Context)).Distinct().Count() + windows.Sum(window => window.Continuation.Length - 1);
    }

    static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    static (string[] Paths, Dictionary<string, string> Named) Read(string[] args)
    {
        (List<string> paths, Dictionary<string, string> named) = ([], []);
        for (int i = 0; i < args.Length; i++)
        {
            if (args[i].StartsWith("--", StringComparison.Ordinal) && i + 1 < args.Length)
            {
                named[args[i]] = args[++i];
            }
            else
            {
                paths.Add(args[i]);
            }
        }

        return ([.. paths], named);
    }
}
