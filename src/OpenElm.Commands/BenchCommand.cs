using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Benchmarking;

namespace OpenElm.Commands;

/// <summary>Measures a model as llama-bench does: prompt processing and generation, in tokens a second.</summary>
internal static class BenchCommand
{
    public static Command Create(CommandContext context)
    {
        var defaults = new BenchmarkOptions();
        var inference = new InferenceArguments();
        var prompt = new Option<int>("--prompt", "-p") { Description = "Tokens of the prompt test; 0 leaves it out", DefaultValueFactory = _ => defaults.PromptTokens };
        var generate = new Option<int>("--generate", "-n") { Description = "Tokens of the generation test; 0 leaves it out", DefaultValueFactory = _ => defaults.GeneratedTokens };
        var sequences = new Option<int>("--sequences") { Description = "Sequences that generate side by side", DefaultValueFactory = _ => defaults.Sequences };
        var repetitions = new Option<int>("--repetitions", "-r") { Description = "Repetitions of each test, after one that does not count", DefaultValueFactory = _ => defaults.Repetitions };
        var lookup = new Option<int>("--prompt-lookup") { Description = "Also measure what this many looked-up proposals gain, on a repetitive and a free text" };
        var draft = new Option<string?>("--draft") { Description = "Also measure what proposals of this smaller model gain" };
        var command = new Command("bench", "Measure prompt processing and generation, as llama-bench does") { prompt, generate, sequences, repetitions, lookup, draft };
        inference.AddTo(command);
        command.Subcommands.Add(BenchThroughputCommand.Create(context));
        command.SetAction(parsed =>
        {
            long start = context.Time.GetTimestamp();
            using TextModel text = inference.Open(parsed, context);
            TimeSpan load = context.Time.GetElapsedTime(start);
            OpenElmModel model = text.Model;
            TimeSpan first = FirstToken(model, context.Time);
            var options = new BenchmarkOptions
            {
                PromptTokens = parsed.GetValue(prompt),
                GeneratedTokens = parsed.GetValue(generate),
                Sequences = parsed.GetValue(sequences),
                Repetitions = parsed.GetValue(repetitions),
            };
            var before = SystemTimes.Read();
            BenchmarkResult[] results = [.. ModelBenchmark.Run(model, options, context.Cancellation).Select(result => Show(context, result))];
            using TextModel? drafting = parsed.GetValue(draft) is { } path ? inference.OpenOther(path, parsed, context) : null;
            SpeculationResult[] gains = drafting is null && parsed.GetValue(lookup) == 0 ? []
                : [.. SpeculationBenchmark.Run(text, drafting, parsed.GetValue(lookup), options, context.Cancellation).Select(result => Show(context, result))];
            double bandwidth = model.MeasureReadBandwidth();
            SystemTimes.Disturbance? disturbance = SystemTimes.Since(before);
            if (context.IsJson)
            {
                context.WriteJson(
                    new BenchDocument(
                        model.KernelName, model.Threads, model.KvCacheType, model.WeightBytes, load.TotalSeconds, first.TotalSeconds, bandwidth, disturbance,
                        [.. results.Select(result => new BenchTest(
                            result.Test, result.Median, result.TokensPerSecond, result.BytesPerSecond, result.BytesPerSecond / bandwidth, result.AllocatedBytesPerToken))],
                        [.. gains]),
                    CommandJson.Documents.BenchDocument);
                return;
            }

            context.Output.WriteLine($"{model.KernelName} kernels, {model.Threads} threads, {Quantity.Bytes(model.WeightBytes)} of weights, KV cache {model.KvCacheType}; "
                + $"loaded in {load.TotalMilliseconds:0} ms, first token after {first.TotalMilliseconds:0} ms more");
            foreach (BenchmarkResult result in results.Where(result => result.BytesPerSecond is not null))
            {
                context.Output.WriteLine($"{result.Test}: {result.BytesPerSecond / 1e9:0.0} GB/s of weights, {result.BytesPerSecond / bandwidth:0%} of plain reading ({bandwidth / 1e9:0.0} GB/s)");
            }

            if (disturbance is { IsLarge: true })
            {
                context.Warn($"other processes took {disturbance.OthersPercent:0}% of a processor, and {disturbance.StealPercent:0}% were stolen from this machine: measure again");
            }
        });
        return command.WithExamples(
            "openelm bench MODEL",
            "openelm bench MODEL --threads 1 --kv BF16 --repetitions 7 --json",
            "openelm bench MODEL --device cuda",
            "openelm bench MODEL --prompt 0 --sequences 8",
            "openelm bench MODEL --prompt-lookup 10",
            "openelm bench LARGE --draft SMALL");
    }

    static BenchmarkResult Show(CommandContext context, BenchmarkResult result)
    {
        if (!context.IsJson)
        {
            context.Output.WriteLine($"{result.Test,-8} {result.Median,10:0.00} tokens/s  ({string.Join(" ", result.TokensPerSecond.Select(rate => $"{rate:0.00}"))})  {result.AllocatedBytesPerToken:0} bytes allocated a token");
        }

        return result;
    }

    static SpeculationResult Show(CommandContext context, SpeculationResult result)
    {
        if (!context.IsJson)
        {
            context.Output.WriteLine($"{result.Text,-10} {result.Gain:0.00}x with proposals: {BenchmarkResult.MedianOf(result.TokensPerSecond):0.00} against {BenchmarkResult.MedianOf(result.PlainTokensPerSecond):0.00} tokens/s; "
                + $"{result.Accepted} of {result.Proposed} proposals accepted, {(result.SameTokens == result.Tokens ? "the same tokens" : $"the first {result.SameTokens} of {result.Tokens} tokens the same")}");
        }

        return result;
    }

    static TimeSpan FirstToken(OpenElmModel model, TimeProvider time)
    {
        long start = time.GetTimestamp();
        using SequenceState state = model.CreateState(1);
        model.Decode(0, state, new float[model.Config.VocabSize]);
        return time.GetElapsedTime(start);
    }
}

/// <summary>The output of <c>bench --json</c>.</summary>
internal sealed record BenchDocument(
    string Kernels, int Threads, KvCacheType KvCache, long WeightBytes, double LoadSeconds, double FirstTokenSeconds, double ReadBytesPerSecond,
    SystemTimes.Disturbance? Disturbance, ImmutableArray<BenchTest> Tests, ImmutableArray<SpeculationResult> Speculation);

/// <summary>One test of it.</summary>
internal sealed record BenchTest(
    string Test, double Median, ImmutableArray<double> TokensPerSecond, double? BytesPerSecond, double? ShareOfReadBandwidth, double AllocatedBytesPerToken);
