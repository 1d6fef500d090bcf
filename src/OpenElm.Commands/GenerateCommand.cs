using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Commands;

/// <summary>Continues a prompt: text to standard output as it comes, speed to standard error.</summary>
internal static class GenerateCommand
{
    public static Command Create(CommandContext context)
    {
        var inference = new InferenceArguments();
        var prompt = new Option<string?>("--prompt", "-p") { Description = "The text to continue; without it the model begins by itself" };
        var promptFile = new Option<string?>("--prompt-file") { Description = "Read the prompt from a file" };
        var promptTokens = new Option<int[]>("--prompt-tokens") { Description = "The prompt as token ids, BOS included, for a model without a tokenizer", AllowMultipleArgumentsPerToken = true };
        var echo = new Option<bool>("--no-echo") { Description = "Print what was generated without the prompt" };
        var maxTokens = new Option<int>("--max-tokens", "-n") { Description = "Generate at most this many tokens", DefaultValueFactory = _ => new GenerationOptions().MaxTokens };
        var temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token (greedy); 1 draws as the model says" };
        var topK = new Option<int>("--top-k") { Description = "Draw from this many of the likeliest tokens; 0 is all" };
        var topP = new Option<double>("--top-p") { Description = "Draw from the likeliest tokens that together have this probability", DefaultValueFactory = _ => 1 };
        var minP = new Option<double>("--min-p") { Description = "Drop tokens less likely than this share of the likeliest" };
        var penalty = new Option<double>("--repetition-penalty") { Description = "Above 1 makes tokens that already occur less likely", DefaultValueFactory = _ => 1 };
        var seed = new Option<int>("--seed") { Description = "Seed of the draws" };
        var stop = new Option<string[]>("--stop") { Description = "End before this text; may be given several times" };
        var ignoreEos = new Option<bool>("--ignore-eos") { Description = "Go on after the end of a sequence, as benchmarks do" };
        var command = new Command("generate", "Continue a text")
        {
            prompt, promptFile, promptTokens, echo, maxTokens, temperature, topK, topP, minP, penalty, seed, stop, ignoreEos,
        };
        inference.AddTo(command);
        command.SetAction(parsed =>
        {
            GenerationOptions options = new GenerationOptions
            {
                MaxTokens = parsed.GetValue(maxTokens),
                Stop = [.. parsed.GetValue(stop) ?? []],
                IgnoreEos = parsed.GetValue(ignoreEos),
                Sampling = new SamplingOptions
                {
                    Temperature = parsed.GetValue(temperature),
                    TopK = parsed.GetValue(topK),
                    TopP = parsed.GetValue(topP),
                    MinP = parsed.GetValue(minP),
                    RepetitionPenalty = parsed.GetValue(penalty),
                    Seed = parsed.GetValue(seed),
                },
            }.Validated();
            int[] ids = parsed.GetValue(promptTokens) ?? [];
            string text = Prompt(parsed.GetValue(prompt), parsed.GetValue(promptFile), ids);
            using TextModel model = inference.Open(parsed, context);
            var generator = new Generator(model, context.Time);
            GenerationRun run = ids is [] ? generator.Start(text, options) : generator.Start(ids, options);
            string output = Stream(context, model, run, parsed.GetValue(echo) ? "" : text);
            Report(context, model, run, text, output);
        });
        return command.WithExamples(
            "openelm generate samples/stories260k --prompt \"Once upon a time\"",
            "openelm generate MODEL --prompt \"The sea\" --temperature 0.8 --top-p 0.95 --seed 7 --stop \"The end\"",
            "openelm generate MODEL --prompt-tokens 1 450 7205 --max-tokens 100 --json");
    }

    static string Prompt(string? text, string? file, int[] ids)
    {
        if (new[] { text is not null, file is not null, ids is not [] }.Count(given => given) > 1)
        {
            throw new OpenElmException("Give the prompt once: --prompt, --prompt-file or --prompt-tokens.");
        }

        return file is null ? text ?? ""
            : File.Exists(file) ? File.ReadAllText(file)
            : throw new OpenElmException($"There is no file {file}.");
    }

    static string Stream(CommandContext context, TextModel model, GenerationRun run, string echo)
    {
        // Without a tokenizer there are only ids to show.
        IEnumerable<string> parts = model.Tokenizer is null
            ? run.Tokens(context.Cancellation).Select((id, i) => i == 0 ? $"{id}" : $" {id}")
            : run.Text(context.Cancellation);
        if (context.IsJson)
        {
            return string.Concat(parts);
        }

        var output = new System.Text.StringBuilder();
        context.Output.Write(echo);
        try
        {
            foreach (string part in parts)
            {
                output.Append(part);
                context.Output.Write(part);
                context.Output.Flush();
            }
        }
        finally
        {
            context.Output.WriteLine();
        }

        return output.ToString();
    }

    static void Report(CommandContext context, TextModel model, GenerationRun run, string prompt, string output)
    {
        GenerationRates rates = run.Rates;
        if (context.IsJson)
        {
            context.WriteJson(
                new GenerateDocument
                {
                    Prompt = prompt,
                    Text = model.Tokenizer is null ? null : output,
                    PromptTokens = [.. run.Prompt.Span],
                    Tokens = [.. run.Output.Span],
                    FinishReason = run.FinishReason,
                    Kernels = model.Model.KernelName,
                    Threads = model.Model.Threads,
                    TimeToFirstTokenSeconds = rates.TimeToFirstToken.TotalSeconds,
                    TotalSeconds = rates.TotalTime.TotalSeconds,
                    PromptTokensPerSecond = Finite(rates.PromptTokensPerSecond),
                    GenerationTokensPerSecond = Finite(rates.GenerationTokensPerSecond),
                    TotalTokensPerSecond = Finite(rates.TotalTokensPerSecond),
                },
                CommandJson.Documents.GenerateDocument);
            return;
        }

        context.Log($"prompt: {rates.PromptTokens} tokens, {rates.PromptTokensPerSecond:0.0} tokens/s; generation: {rates.GeneratedTokens} tokens, "
            + $"{rates.GenerationTokensPerSecond:0.0} tokens/s; total: {rates.TotalTokensPerSecond:0.0} tokens/s ({model.Model.KernelName} kernels, {model.Model.Threads} threads)");
        context.Log(run.FinishReason switch
        {
            FinishReason.EndOfSequence => "ended by the model",
            FinishReason.StopText => "ended by a stop text",
            FinishReason.LengthLimit => $"ended at the longest sequence of {model.Model.MaxLength} tokens; --max-length raises it",
            _ => "ended by --max-tokens",
        });
    }

    static double? Finite(double rate) => double.IsFinite(rate) ? rate : null;
}

/// <summary>The output of <c>generate --json</c>; rates that could not be measured are null.</summary>
internal sealed record GenerateDocument
{
    public required string Prompt { get; init; }

    /// <summary>Null without a tokenizer.</summary>
    public required string? Text { get; init; }

    public required ImmutableArray<int> PromptTokens { get; init; }

    public required ImmutableArray<int> Tokens { get; init; }

    public required FinishReason FinishReason { get; init; }

    public required string Kernels { get; init; }

    public required int Threads { get; init; }

    public required double TimeToFirstTokenSeconds { get; init; }

    public required double TotalSeconds { get; init; }

    public required double? PromptTokensPerSecond { get; init; }

    public required double? GenerationTokensPerSecond { get; init; }

    public required double? TotalTokensPerSecond { get; init; }
}
