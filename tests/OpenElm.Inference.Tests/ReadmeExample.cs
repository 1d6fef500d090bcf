using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Tests;

/// <summary>The example of the README, word for word: <see cref="ReadmeTests"/> compares and runs it.</summary>
internal static class ReadmeExample
{
    public static void Run()
    {
        // begin
        using TextModel model = TextModel.Load("samples/stories260k"); // threads may share it
        foreach (string part in model.GenerateText("Once upon a time", new GenerationOptions { MaxTokens = 40 }))
        {
            Console.Write(part); // as it comes
        }

        var options = new GenerationOptions
        {
            Sampling = new SamplingOptions { Temperature = 0.8, TopP = 0.95, Seed = 7 },
            Constraint = OutputConstraint.Regex(" (Tom|Lily|Ben) is [1-9][0-9]? years old[.]"),
        };
        using GenerationSession session = model.CreateSession(); // a prompt that begins like the last is fed from there
        GenerationRun run = session.Start("Once upon a time.", options);
        Console.WriteLine(string.Concat(run.Text()));
        Console.WriteLine($"{run.Output.Length} tokens, {run.Rates.GenerationTokensPerSecond:0} a second, {run.FinishReason}");
        // end
    }
}
