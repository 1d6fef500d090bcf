using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Inference.Benchmarking;

namespace OpenElm.Commands;

/// <summary>The paper's Table 7 on this machine: prompt, generation and total, in tokens a second, of all sizes.</summary>
internal static class BenchThroughputCommand
{
    public static Command Create(CommandContext context)
    {
        var defaults = new ThroughputOptions();
        var sizes = new Option<string[]>("--sizes") { Description = "Models by name instead of the paper's four", AllowMultipleArgumentsPerToken = true };
        var prompt = new Option<int>("--prompt", "-p") { Description = "Tokens of the prompt", DefaultValueFactory = _ => defaults.PromptTokens };
        var generate = new Option<int>("--generate", "-n") { Description = "Tokens that are generated", DefaultValueFactory = _ => defaults.GeneratedTokens };
        var batch = new Option<int>("--batch", "-b") { Description = "Sequences side by side", DefaultValueFactory = _ => defaults.Batch };
        var weights = new Option<DType>("--weights", "-w") { Description = "Type of matrices: bf16, q8_0, q4_0, q4_k, …", DefaultValueFactory = _ => defaults.Weights };
        var repetitions = new Option<int>("--repetitions", "-r") { Description = "Measured runs of each model, after two that warm up", DefaultValueFactory = _ => defaults.Repetitions };
        var threads = new Option<int?>("--threads") { Description = "Threads on the processor instead of one a processor" };
        var profile = new Option<bool>("--profile") { Description = "Also print where the time of a token and of a prompt goes on a GPU" };
        var kv = new Option<KvCacheType>("--kv") { Description = "How past keys and values are kept: F32, BF16 or I8", DefaultValueFactory = _ => KvCacheType.BF16 };
        var kernels = new Option<string?>("--kernels") { Description = "Kernel set instead of the fastest (or of OPENELM_KERNELS) on the processor" };
        var device = new DeviceArguments();
        var command = new Command("throughput", "Measure every size as the paper's Table 7 does, with random weights") { sizes, prompt, generate, batch, weights, kv, kernels, repetitions, threads, profile };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = new ThroughputOptions { PromptTokens = parsed.GetValue(prompt), GeneratedTokens = parsed.GetValue(generate), Batch = parsed.GetValue(batch), Weights = parsed.GetValue(weights), Profiles = parsed.GetValue(profile), Repetitions = parsed.GetValue(repetitions) };
            var inference = new InferenceOptions { Device = device.Open(parsed, context), Threads = parsed.GetValue(threads), KvCache = parsed.GetValue(kv), Kernels = parsed.GetValue(kernels) };
            string[] names = parsed.GetValue(sizes) is { Length: > 0 } given ? given : [.. NamedConfigs.Names.Where(name => name.StartsWith("openelm-", StringComparison.Ordinal))];
            var rows = new List<ThroughputResult>();
            foreach ((string name, OpenElmConfig config) in names.Select(name => (name, NamedConfigs.Get(name))).OrderBy(model => TensorShapes.Of(model.Item2).Sum(shape => shape.Elements)))
            {
                context.Log($"measuring {name}");
                rows.Add(ThroughputBenchmark.Run(name, config, inference, options, context.Time, context.Cancellation));
            }

            if (context.IsJson)
            {
                context.WriteJson(new ThroughputDocument(inference.Device?.Name ?? "cpu", options.PromptTokens, options.GeneratedTokens, options.Batch, options.Weights.ToString(), inference.KvCache.ToString(), [.. rows]), CommandJson.Documents.ThroughputDocument);
                return;
            }

            var table = new TextTable("model", "params", "prompt", "generation", "total", "of reading", "GB/s read", "kernels");
            foreach (ThroughputResult row in rows)
            {
                table.Add(
                    row.Model, $"{row.Parameters / 1e9:0.00} B", $"{row.PromptTokensPerSecond:0.00}", $"{row.GenerationTokensPerSecond:0.00}", $"{row.TotalTokensPerSecond:0.00}",
                    $"{row.ShareOfReadBandwidth:0%}", $"{row.ReadBytesPerSecond / 1e9:0}", row.Kernels);
            }

            context.Output.WriteLine($"tokens/s on {inference.Device?.Name ?? "the processor"}; prompt of {options.PromptTokens}, {options.GeneratedTokens} new, greedy, batch {options.Batch}, random {options.Weights} weights, KV cache {inference.KvCache}");
            table.WriteTo(context.Output);
            if (parsed.GetValue(profile))
            {
                WriteProfiles(context, rows);
            }
        });
        return command.WithExamples("openelm bench throughput --device cuda --profile", "openelm bench throughput --sizes openelm-270m --generate 64 --json");
    }

    static void WriteProfiles(CommandContext context, IEnumerable<ThroughputResult> rows)
    {
        var table = new TextTable("model", "phase", "times", "us", "us waiting");
        foreach (ThroughputResult row in rows)
        {
            foreach (StepPhase phase in row.Step)
            {
                table.Add(row.Model, Short(phase.Name), phase.Count, $"{phase.Microseconds:0.0}", $"{phase.Waiting:0.0}");
            }

            foreach (StepPhase phase in row.Prompt)
            {
                table.Add(row.Model, $"prompt: {Short(phase.Name)}", phase.Count, $"{phase.Microseconds:0.0}", "");
            }
        }

        context.Output.WriteLine();
        table.WriteTo(context.Output);

        // Names of a library's kernels are long.
        static string Short(string name) => name.Length > 60 ? name[..60] : name;
    }
}

/// <summary>The output of <c>bench throughput --json</c>.</summary>
internal sealed record ThroughputDocument(string Device, int PromptTokens, int GeneratedTokens, int Batch, string Weights, string KvCache, ImmutableArray<ThroughputResult> Rows);
