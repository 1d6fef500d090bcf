using System.Collections.Immutable;
using OpenElm.Inference;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Generation.Beams;

namespace OpenElm.Commands;

/// <summary>Runs a beam search and prints the best output, or all of them as JSON.</summary>
internal static class BeamReport
{
    public static void Print(CommandContext context, TextModel model, int[] prompt, string promptText, string echo, BeamOptions options)
    {
        long start = context.Time.GetTimestamp();
        IReadOnlyList<BeamOutput> outputs = BeamSearch.Run(model, prompt, options, context.Cancellation);
        double seconds = context.Time.GetElapsedTime(start).TotalSeconds;
        if (context.IsJson)
        {
            context.WriteJson(
                new BeamDocument(
                    promptText, [.. prompt],
                    [.. outputs.Select(output => new BeamDocument.Output(model.Tokenizer is null ? null : Text(model, prompt, output), output.Score, [.. output.Tokens.Span], output.FinishReason))],
                    model.Model.KernelName, model.Model.Threads, seconds),
                CommandJson.Documents.BeamDocument);
            return;
        }

        if (outputs is not [var best, ..])
        {
            throw new OpenElmException("The search found no output; allow more tokens.");
        }

        context.Output.WriteLine(echo + Text(model, prompt, best));
        context.Log($"best of {outputs.Count} outputs: score {best.Score:0.0000}, {best.Tokens.Length} tokens, {options.Beams} beams, {seconds:0.00} s");
    }

    static string Text(TextModel model, int[] prompt, BeamOutput output) =>
        model.Tokenizer is null ? string.Join(' ', output.Tokens.ToArray()) : model.DecodeOutput(prompt, output.Tokens.Span);
}

/// <summary>The output of <c>generate --beams N --json</c>.</summary>
internal sealed record BeamDocument(
    string Prompt, ImmutableArray<int> PromptTokens, ImmutableArray<BeamDocument.Output> Outputs, string Kernels, int Threads, double TotalSeconds)
{
    /// <summary>One output; its text is null without a tokenizer.</summary>
    public sealed record Output(string? Text, double Score, ImmutableArray<int> Tokens, FinishReason FinishReason);
}
