using System.CommandLine;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;

namespace OpenElm.Commands;

/// <summary>Perplexity of a file per token, word and byte.</summary>
internal static class PerplexityCommand
{
    static readonly TimeSpan ProgressInterval = TimeSpan.FromSeconds(10);

    public static Command Create(CommandContext context)
    {
        var inference = new InferenceArguments();
        var input = new Option<string>("--input", "-i") { Description = "A text file (one text), or a .jsonl file with one {\"text\": \"…\"} or {\"tokens\": […]} a line", Required = true };
        var window = new Option<int?>("--window") { Description = "Tokens the model sees at once, BOS included, instead of its context length" };
        var stride = new Option<int?>("--stride") { Description = "Tokens scored by each window after the first instead of half a window" };
        var command = new Command("perplexity", "Measure how well a model predicts a text: perplexity per token, word and byte") { input, window, stride };
        inference.AddTo(command);
        command.SetAction(parsed =>
        {
            using TextModel model = inference.Open(parsed, context);
            var meter = new PerplexityMeter(model.Model, model.Tokenizer, parsed.GetValue(window), parsed.GetValue(stride));
            string source = parsed.GetRequiredValue(input);
            long reported = context.Time.GetTimestamp();
            (Perplexity total, int texts) = PerplexityLines.Measure(source, meter, Progress, context.Cancellation);
            if (context.IsJson)
            {
                context.WriteJson(
                    new PerplexityDocument(
                        source, texts, total.Tokens, total.Words, total.Bytes, total.LogProbability, total.PerToken, total.PerWord, total.PerByte, total.BitsPerByte,
                        meter.Window, meter.Stride),
                    CommandJson.Documents.PerplexityDocument);
                return;
            }

            context.Log($"{texts} texts, windows of {meter.Window} tokens, stride {meter.Stride}");
            var table = new TextTable("per", "count", "perplexity");
            table.Add("token", total.Tokens, total.PerToken);
            if (total is { Words: { } words, PerWord: { } perWord, Bytes: { } bytes, PerByte: { } perByte, BitsPerByte: { } bits })
            {
                table.Add("word", words, perWord);
                table.Add("byte", bytes, perByte);
                table.WriteTo(context.Output);
                context.Output.WriteLine($"bits per byte: {bits:G4}");
            }
            else
            {
                table.WriteTo(context.Output);
            }

            void Progress(int done, Perplexity sums)
            {
                if (context.Time.GetElapsedTime(reported) > ProgressInterval)
                {
                    reported = context.Time.GetTimestamp();
                    context.Log($"{done} texts, {sums.Tokens:N0} tokens, perplexity per token {sums.PerToken:G4} so far");
                }
            }
        });
        return command.WithExamples(
            "openelm perplexity samples/stories260k --input story.txt",
            "openelm perplexity MODEL --input held-out.jsonl --window 2048 --stride 512 --json");
    }
}

/// <summary>The output of <c>perplexity --json</c>.</summary>
internal sealed record PerplexityDocument(
    string Input, int Texts, long Tokens, long? Words, long? Bytes, double LogProbability, double PerToken, double? PerWord, double? PerByte, double? BitsPerByte,
    int Window, int Stride);
