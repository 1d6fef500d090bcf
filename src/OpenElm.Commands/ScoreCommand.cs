using System.CommandLine;
using System.Text;
using System.Text.Json.Nodes;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;
using OpenElm.IO;

namespace OpenElm.Commands;

/// <summary>Log-probabilities of given tokens, texts or continuations.</summary>
internal static class ScoreCommand
{
    public static Command Create(CommandContext context)
    {
        var inference = new InferenceArguments();
        var input = new Option<string>("--input", "-i") { Description = "Lines of {\"tokens\": […]}, {\"text\": \"…\"} or {\"context\": \"…\", \"continuation\": \"…\"}", Required = true };
        var output = new Option<string?>("--output", "-o") { Description = "Write the lines to this file instead of standard output" };
        var command = new Command("score", "Add log-probabilities to lines of tokens, texts or continuations") { input, output };
        inference.AddTo(command);
        command.SetAction(parsed =>
        {
            string source = parsed.GetRequiredValue(input);
            if (!File.Exists(source))
            {
                throw new OpenElmException($"There is no file {source}.");
            }

            using TextModel model = inference.Open(parsed, context);
            IEnumerable<JsonObject> lines = ScoreLines(context, source, new JsonLineScorer(new Scorer(model.Model, model.Tokenizer)));
            if (parsed.GetValue(output) is { } destination)
            {
                int count = WriteFile(destination, lines);
                if (context.IsJson)
                {
                    context.WriteJson(new ScoreDocument(source, destination, count), CommandJson.Documents.ScoreDocument);
                }
            }
            else if (context.IsJson)
            {
                context.WriteJson([.. lines], CommandJson.Documents.JsonObjectArray);
            }
            else
            {
                foreach (JsonObject line in lines)
                {
                    context.Output.WriteLine(JsonLineScorer.Write(line));
                }
            }
        });
        return command.WithExamples(
            "openelm score samples/stories260k --input lines.jsonl",
            "openelm score MODEL --input questions.jsonl --output scored.jsonl");
    }

    static IEnumerable<JsonObject> ScoreLines(CommandContext context, string source, JsonLineScorer scorer)
    {
        int number = 0;
        long tokens = 0, start = context.Time.GetTimestamp();
        foreach (string line in File.ReadLines(source))
        {
            context.Cancellation.ThrowIfCancellationRequested();
            number++;
            JsonObject scored;
            try
            {
                (scored, Score score) = scorer.ScoreLine(line);
                tokens += score.LogProbabilities.Length;
            }
            catch (OpenElmException e)
            {
                throw new OpenElmException($"{source}, line {number}: {e.Message}", e);
            }

            yield return scored;
        }

        context.Log($"{number} lines, {tokens} tokens scored, {tokens / context.Time.GetElapsedTime(start).TotalSeconds:0.0} tokens/s");
    }

    static int WriteFile(string path, IEnumerable<JsonObject> lines)
    {
        int count = 0;
        AtomicFile.Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
            foreach (JsonObject line in lines)
            {
                writer.WriteLine(JsonLineScorer.Write(line));
                count++;
            }
        });
        return count;
    }
}

/// <summary>The output of <c>score --output FILE --json</c>.</summary>
internal sealed record ScoreDocument(string Input, string Output, int Lines);
