using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Inference.Cuda;
using OpenElm.Inference.Generation;
using OpenElm.Training.Benchmarking;
using OpenElm.Training.Torch;

namespace OpenElm.Cli.Commands;

/// <summary>The paper's Table 8 on this machine: what the kind and number of norms cost when a model generates.</summary>
internal static class BenchNormsCommand
{
    public static Command Create(ConsoleContext context)
    {
        var size = new Option<string>("--size") { Description = "The architecture", DefaultValueFactory = _ => "openelm-1.1b" };
        size.AcceptOnlyFromAmong([.. NamedConfigs.Names]);
        var prompt = new Option<int>("--prompt", "-p") { Description = "Tokens of the prompt", DefaultValueFactory = _ => 36 };
        var generate = new Option<int>("--generate", "-n") { Description = "Tokens that are generated", DefaultValueFactory = _ => 1024 };
        var rounds = new Option<int>("--rounds", "-r") { Description = "Measured rounds, after two that warm up; all rows take turns in each", DefaultValueFactory = _ => 5 };
        Option<string> device = SharedOptions.Device();
        Option<string?> torchFolder = SharedOptions.TorchFolder();
        var command = new Command("norms", "Measure what norms cost in generation, as the paper's Table 8 does, with random weights") { size, prompt, generate, rounds, device, torchFolder };
        command.SetAction(parsed =>
        {
            TorchLibrary.EnsureLoaded(new TorchOptions { Folder = parsed.GetValue(torchFolder) });
            string name = parsed.GetValue(device)!;
            var options = new NormBenchmarkOptions
            {
                Config = NamedConfigs.Get(parsed.GetValue(size)!) with { VocabSize = 32000 },
                Device = name,
                PromptTokens = parsed.GetValue(prompt),
                GeneratedTokens = parsed.GetValue(generate),
                Rounds = parsed.GetValue(rounds),
            };
            var inference = new InferenceOptions { Device = name == "cpu" ? null : OpenDevice(), KvCache = KvCacheType.BF16 };
            string openElm = $"OpenELM {ParameterCount.Of(options.Config).Total / 1e9:0.00} B";
            (string Model, OpenElmConfig Config, string Norm, InferenceOptions Options)[] ours =
            [
                ("OLMo-shaped 1.18 B", NormBenchmark.OlmoShaped, "RMSNorm", inference),
                (openElm, options.Config, "RMSNorm", inference),
                (openElm, options.Config, "LayerNorm", inference with { LayerNorm = true }),
                (openElm, options.Config, "RMSNorm, kernels of their own", inference with { KernelsApart = true }),
                (openElm + ", no QK-norm", options.Config with { NormalizeQkProjections = false }, "RMSNorm", inference),
            ];
            if (inference.Device is null)
            {
                ours = [.. ours.Where(entry => entry.Options == inference)]; // the processor has one way only
            }

            TextModel[] models = [.. ours.Select(entry => TextModel.Of(OpenElmModel.CreateRandom(entry.Config, entry.Options), null))];
            try
            {
                Print(context, options, NormBenchmark.Run(options, [.. ours.Zip(models, (entry, model) => Ours(entry.Model, entry.Norm, entry.Config, model))], context.Cancellation));
            }
            finally
            {
                Array.ForEach(models, model => model.Dispose());
            }
        });
        return command.WithExamples("openelm bench norms --device cuda", "openelm bench norms --size openelm-270m --generate 32 --rounds 3 --json");
    }

    static CudaInferenceDevice OpenDevice() =>
        CudaInferenceDevice.TryOpen(CudaPrecision.Bf16, out string? reason) ?? throw new OpenElmException($"There is no usable GPU: {reason}; measure with --device cpu.");

    static NormSubject Ours(string model, string norm, OpenElmConfig config, TextModel text) => new(model, "OpenElm.Inference", norm, NormBenchmark.CountNorms(config), (prompt, tokens) =>
    {
        using GenerationSession session = text.CreateSession();
        GenerationRun run = session.Start(prompt, new GenerationOptions { MaxTokens = tokens, IgnoreEos = true });
        foreach (int token in run.Tokens(default))
        {
        }

        return new GenerationTime(run.Rates.TimeToFirstToken.TotalSeconds, (run.Rates.TotalTime - run.Rates.TimeToFirstToken).TotalSeconds);
    });

    static void Print(ConsoleContext context, NormBenchmarkOptions options, ImmutableArray<NormResult> rows)
    {
        if (context.IsJson)
        {
            context.WriteJson(new { options.Device, options.PromptTokens, options.GeneratedTokens, options.Rounds, Rows = rows });
            return;
        }

        context.Output.WriteLine($"tokens/s on {options.Device}; prompt of {options.PromptTokens}, {options.GeneratedTokens} new, greedy, batch 1, bf16, random weights; medians of {options.Rounds} rounds");
        var table = new TextTable("model", "norm", "layers", "runtime", "prompt", "generation", "total", "kernels/token", "busy us", "us/token");
        foreach (NormResult row in rows)
        {
            table.Add(
                row.Model, row.Norm, row.NormLayers, row.Runtime, $"{row.PromptTokensPerSecond:0.00}", $"{row.GenerationTokensPerSecond:0.00}", $"{row.TotalTokensPerSecond:0.00}",
                row.KernelsPerToken is { } kernels ? $"{kernels:0.0}" : "-", row.BusyMicroseconds is { } busy ? $"{busy:0}" : "-", $"{row.TokenMicroseconds:0}");
        }

        table.WriteTo(context.Output);
    }
}
