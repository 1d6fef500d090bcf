using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

/// <summary>A made-up run.</summary>
internal static class Runs
{
    public static RunInfo Info { get; } = new() { Name = "tiny <run>", Folder = "runs/tiny", TotalSteps = 300, Parameters = 1_234_567, TokensPerStep = 4096 };

    public static StepMetrics Step(long step, double loss) => new()
    {
        Step = step,
        TotalSteps = Info.TotalSteps,
        Loss = loss,
        Measured = [new("cross_entropy", loss), new("z_loss", 0.01)],
        LearningRate = 1e-3 * Math.Min(step, 300 - step) / 300,
        GradientNorm = 1 + (1.0 / step),
        TokensPerSecond = 20_000 + (step % 7 * 100),
        DataWaitShare = 0.001,
        TokensSeen = step * Info.TokensPerStep,
        Elapsed = TimeSpan.FromSeconds(step),
        TimeLeft = TimeSpan.FromSeconds(300 - step),
    };
}
