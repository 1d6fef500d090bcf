using System.CommandLine;
using OpenElm.Distributed;
using OpenElm.Inference;
using OpenElm.Inference.Cuda;
using OpenElm.Training;
using OpenElm.Training.Torch;
using OpenElm.Verification.Golden;
using OpenElm.Verification.Gpu;

namespace OpenElm.Cli.Commands;

/// <summary>Runs golden files of the reference implementation against this build on this machine, on every kernel set it has.</summary>
internal static class VerifyCommand
{
    const string Training = "training", Inference = "inference";
    const string Golden = "golden", Kernels = "kernels", Passes = "passes", Runs = "runs";

    public static Command Create(ConsoleContext context)
    {
        var folder = new Argument<string>("folder") { Description = "A folder of golden files with their golden.json" };
        var runtime = new Option<string?>("--runtime") { Description = "Only this runtime instead of both" };
        runtime.AcceptOnlyFromAmong(Training, Inference);
        var device = new Option<string>("--device") { Description = "Where the runtimes compute", DefaultValueFactory = _ => "cpu" };
        device.AcceptOnlyFromAmong("cpu", "cuda");
        var part = new Option<string?>("--part") { Description = "Only this part: golden files, or what is checked of the training kernels of a GPU one by one, in passes over a model, in whole runs" };
        part.AcceptOnlyFromAmong(Golden, Kernels, Passes, Runs);
        var model = new Option<string?>("--model") { Description = "Also this model, on a GPU against the processor over its whole context: a folder, or a file" };
        var command = new Command("verify", "Compare this build with the reference implementation: logits, losses, gradients, training, samplers") { folder, runtime, device, part, model };
        command.SetAction(parsed =>
        {
            int code = ExitCodes.Success;
            Job.Run(context, group =>
            {
                if (parsed.GetValue(model) is not null && (group is not null || parsed.GetRequiredValue(device) == "cpu" || parsed.GetValue(runtime) is Training))
                {
                    throw new OpenElmException("--model compares inference on a GPU with the processor's: give it with --device cuda, without --runtime training and without ranks.");
                }

                code = group is null ? Verify(parsed) : VerifyRanks(parsed, group);
            });
            return code;
        });

        int Verify(ParseResult parsed)
        {
            string path = parsed.GetRequiredValue(folder), where = parsed.GetRequiredValue(device);
            string? only = parsed.GetValue(runtime);
            string againstProcessor = $"inference ({where}) = inference (cpu)";
            var rows = new List<(string Runtime, GoldenResult Result)>();
            bool Wanted(string name) => (parsed.GetValue(part) ?? name) == name;

            // On a GPU checks take minutes; a line each, so that one that is stopped has said what it found.
            void Add(string runtime, GoldenResult result)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                rows.Add((runtime, result));
                if (where != "cpu")
                {
                    context.Log($"{runtime}: {result.File} {Status(result)}");
                }
            }

            if (parsed.GetValue(model) is { } compared)
            {
                Add(againstProcessor, DeviceInferenceSuite.Run(compared, Device(CudaPrecision.Fp32, where), Device(CudaPrecision.Bf16, where)));
            }

            foreach (IGoldenRuntime tested in Wanted(Golden) ? Runtimes(only, where) : [])
            {
                using (tested)
                {
                    foreach (GoldenResult result in GoldenSuite.Run(path, tested))
                    {
                        Add(tested.Name, result);
                    }
                }
            }

            if (where != "cpu" && only is not Inference)
            {
                IEnumerable<GoldenResult> results = (Wanted(Kernels) ? GpuKernelSuite.Run(where) : []).Concat(Wanted(Passes) ? GpuPassSuite.Run(where) : []).Concat(Wanted(Runs) ? GpuRunSuite.Run(where) : []);
                foreach (GoldenResult result in results)
                {
                    Add($"{result.Kind} ({where})", result);
                }
            }

            if (where != "cpu" && only is not Training)
            {
                foreach (GoldenResult result in DeviceInferenceSuite.Run(Device(CudaPrecision.Fp32, where), Device(CudaPrecision.Bf16, where)))
                {
                    Add(againstProcessor, result);
                }
            }

            if (rows.All(row => row.Result.Status == GoldenStatus.NotApplicable))
            {
                throw new OpenElmException($"Nothing in {path} can be run on this runtime; nothing was compared.");
            }

            Report(context, rows);
            return CodeOf(rows);
        }

        // What ranks do together: training, at every level of sharding.
        int VerifyRanks(ParseResult parsed, IProcessGroup group)
        {
            TorchLibrary.EnsureLoaded();
            Job.ShareCores(group);
            string where = Job.DeviceOf(parsed.GetRequiredValue(device), group);
            var rows = new List<(string Runtime, GoldenResult Result)>();
            foreach (Sharding sharding in Enum.GetValues<Sharding>())
            {
                using var tested = new RanksGoldenRuntime(group, sharding, where);
                rows.AddRange(GoldenSuite.Run(parsed.GetRequiredValue(folder), tested).Where(result => result.Status != GoldenStatus.NotApplicable).Select(result => (tested.Name, result)));
            }

            if (!group.IsFirst())
            {
                return ExitCodes.Success;
            }

            if (rows is [])
            {
                throw new OpenElmException($"Nothing in {parsed.GetRequiredValue(folder)} is trained; ranks have nothing to compare.");
            }

            Report(context, rows);
            return CodeOf(rows);
        }

        return command.WithExamples("openelm verify tests/Golden", "openelm verify tests/Golden --runtime training --device cuda --json", "openelm verify tests/Golden --runtime inference --device cuda --model samples/stories260k", "mpirun -n 2 openelm verify tests/Golden");
    }

    static int CodeOf(List<(string Runtime, GoldenResult Result)> rows) => rows.Any(row => row.Result.Status == GoldenStatus.Failed) ? ExitCodes.Bug : ExitCodes.Success;

    static IEnumerable<IGoldenRuntime> Runtimes(string? name, string device)
    {
        if (name is not Inference)
        {
            yield return new TrainingGoldenRuntime(new ModuleOptions { Device = device });
            if (device != "cpu")
            {
                yield return new GpuGoldenRuntime(device);
            }
        }

        if (name is not Training && device != "cpu")
        {
            CudaInferenceDevice gpu = Device(CudaPrecision.Fp32, device);
            yield return new InferenceGoldenRuntime(new InferenceOptions { Device = gpu });
            yield return new InferenceGoldenRuntime(new InferenceOptions { Device = gpu }, tokenByToken: true);
        }

        if (name is not Training && device == "cpu")
        {
            foreach (string set in OpenElmModel.AvailableKernels)
            {
                yield return new InferenceGoldenRuntime(new InferenceOptions { Kernels = set });
            }
        }
    }

    static CudaInferenceDevice Device(CudaPrecision precision, string device) =>
        CudaInferenceDevice.TryOpen(precision, out string? reason) ?? throw new OpenElmException($"Inference cannot be verified on --device {device}: {reason}.");

    static void Report(CommandContext context, List<(string Runtime, GoldenResult Result)> rows)
    {
        int Count(GoldenStatus status) => rows.Count(row => row.Result.Status == status);
        if (context.IsJson)
        {
            context.WriteJson(new
            {
                Passed = Count(GoldenStatus.Passed),
                Failed = Count(GoldenStatus.Failed),
                NotApplicable = Count(GoldenStatus.NotApplicable),
                Files = rows.Select(row => new { row.Runtime, row.Result.File, row.Result.Kind, row.Result.Status, row.Result.Reason, row.Result.Checks }).ToArray(),
            });
            return;
        }

        var table = new TextTable("runtime", "file", "result", "max abs error", "allowed", "max rel error", "allowed", "checks");
        foreach ((string runtime, GoldenResult result) in rows)
        {
            (string absolute, string absoluteLimit) = Worst(result, GoldenMeasure.Absolute);
            (string relative, string relativeLimit) = Worst(result, GoldenMeasure.Relative);
            table.Add(runtime, result.File, Status(result), absolute, absoluteLimit, relative, relativeLimit, result.Checks.Length);
        }

        table.WriteTo(context.Output);
        foreach ((string runtime, GoldenResult result) in rows.Where(row => row.Result.Status == GoldenStatus.Failed))
        {
            foreach (GoldenCheck check in result.Checks.Where(check => !check.Passed))
            {
                context.Output.WriteLine($"{result.File} on {runtime}: {check.Name} is off by {check.Error:g3}; allowed is {check.Allowance:g3} ({(check.Measure == GoldenMeasure.Absolute ? "absolute" : "relative")})");
            }
        }

        context.Output.WriteLine($"{Count(GoldenStatus.Passed)} passed, {Count(GoldenStatus.Failed)} failed, {Count(GoldenStatus.NotApplicable)} not applicable");
    }

    static (string Error, string Allowed) Worst(GoldenResult result, GoldenMeasure measure) =>
        result.WorstOf(measure) is { } check ? ($"{check.Error:0.0e+00}", $"{check.Allowance:0.0e+00}")
        : result.Checks is [] ? ("", "")
        : ($"{result.Checks.Max(check => measure == GoldenMeasure.Absolute ? check.MaxAbsoluteError : check.RelativeError):0.0e+00}", ""); // measured, not limited

    static string Status(GoldenResult result) => result.Status switch
    {
        GoldenStatus.Passed => "passed",
        GoldenStatus.Failed => "FAILED",
        _ => "not applicable",
    };
}
