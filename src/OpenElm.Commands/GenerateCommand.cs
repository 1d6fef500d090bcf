using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Generation.Beams;

namespace OpenElm.Commands;

/// <summary>Continues a prompt: text to standard output as it comes, speed to standard error.</summary>
internal static class GenerateCommand
{
    public static Command Create(CommandContext context)
    {
        var inference = new InferenceArguments();
        var generation = new GenerationArguments();
        var prompt = new Option<string?>("--prompt", "-p") { Description = "The text to continue; without it the model begins by itself" };
        var promptFile = new Option<string?>("--prompt-file") { Description = "Read the prompt from a file" };
        var promptTokens = new Option<int[]>("--prompt-tokens") { Description = "The prompt as token ids, BOS included, for a model without a tokenizer", AllowMultipleArgumentsPerToken = true };
        var noEcho = new Option<bool>("--no-echo") { Description = "Print what was generated without the prompt" };
        var beams = new Option<int>("--beams") { Description = "Search with this many beams instead of choosing token by token; prints the best output" };
        var lengthPenalty = new Option<double>("--length-penalty") { Description = "With --beams: above 0 favours long outputs, below 0 short ones", DefaultValueFactory = _ => new BeamOptions().LengthPenalty };
        var command = new Command("generate", "Continue a text")
        {
            prompt, promptFile, promptTokens, noEcho, beams, lengthPenalty,
        };
        generation.AddTo(command);
        inference.AddTo(command);
        command.SetAction(parsed =>
        {
            GenerationOptions options = generation.Read(parsed);
            int[] ids = parsed.GetValue(promptTokens) ?? [];
            string text = Prompt(parsed.GetValue(prompt), parsed.GetValue(promptFile), ids);
            using TextModel model = inference.Open(parsed, context);
            if (parsed.GetResult(beams) is not null)
            {
                generation.RefuseDraft(parsed, "--beams");
                var search = new BeamOptions { Beams = parsed.GetValue(beams), LengthPenalty = parsed.GetValue(lengthPenalty), Generation = options };
                BeamReport.Print(context, model, ids is [] ? model.EncodePrompt(text) : ids, text, parsed.GetValue(noEcho) ? "" : text, search);
                return;
            }

            using TextModel? draft = generation.OpenDraft(parsed, context, inference);
            using GenerationSession session = model.CreateSession(draft, context.Time);
            GenerationRun run = ids is [] ? session.Start(text, options) : session.Start(ids, options);
            string output = Stream(context, model, run, parsed.GetValue(noEcho) ? "" : text);
            Report(context, model, run, text, output);
        });
        return command.WithExamples(
            "openelm generate models/books-46m --prompt \"Once upon a time\" --temperature 0.8 --top-p 0.95",
            "openelm generate MODEL --prompt \"The sea\" --temperature 0.8 --top-p 0.95 --seed 7 --stop \"The end\"",
            "openelm generate MODEL --prompt \"Her data as JSON: \" --json-schema person.json",
            "openelm generate MODEL --prompt \"The answer is\" --beams 4 --max-tokens 32",
            "openelm generate MODEL --prompt-file article.txt --draft SMALLER_MODEL",
            "openelm generate MODEL --prompt-tokens 1 450 7205 --max-tokens 100 --json");
    }

    static string Prompt(string? text, string? file, int[] ids)
    {
        if (new[] { text is not null, file is not null, ids is not [] }.Count(given => given) > 1)
        {
            throw new OpenElmException("Give the prompt once: --prompt, --prompt-file or --prompt-tokens.");
        }

        return file is null ? text ?? "" : CommandContext.ReadText(file);
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
                    Proposed = run.Speculation.Proposed,
                    Accepted = run.Speculation.Accepted,
                },
                CommandJson.Documents.GenerateDocument);
            return;
        }

        context.Log($"prompt: {rates.PromptTokens} tokens, {rates.PromptTokensPerSecond:0.0} tokens/s; generation: {rates.GeneratedTokens} tokens, "
            + $"{rates.GenerationTokensPerSecond:0.0} tokens/s; total: {rates.TotalTokensPerSecond:0.0} tokens/s ({model.Model.KernelName} kernels, {model.Model.Threads} threads)");
        if (run.Speculation.Proposed > 0)
        {
            context.Log($"speculation: {run.Speculation.Accepted} of {run.Speculation.Proposed} proposed tokens accepted, in {run.Speculation.Passes} passes");
        }

        context.Log(run.FinishReason switch
        {
            FinishReason.EndOfSequence => "ended by the model",
            FinishReason.StopText => "ended by a stop text",
            FinishReason.StopToken => "ended by a stop token",
            FinishReason.Complete => "ended by the constraint",
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

    /// <summary>Tokens that speculation proposed.</summary>
    public required int Proposed { get; init; }

    /// <summary>Those of them that the model would have chosen.</summary>
    public required int Accepted { get; init; }
}
