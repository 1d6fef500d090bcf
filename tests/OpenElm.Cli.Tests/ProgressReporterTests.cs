using OpenElm.Training.Reporting;

namespace OpenElm.Cli.Tests;

public sealed class ProgressReporterTests
{
    static readonly StepMetrics Step = new()
    {
        Step = 1200,
        TotalSteps = 350_000,
        Loss = 3.41234,
        Measured = [new("cross_entropy", 3.4)],
        LearningRate = 0.0053,
        GradientNorm = 0.8765,
        TokensPerSecond = 41_234.5,
        DataWaitShare = 0.0012,
        Utilisation = 0.34,
        TimeLeft = TimeSpan.FromMinutes(125),
    };

    [Fact]
    public void A_step_is_one_line_with_all_that_a_person_watches() =>
        Assert.Equal(
            "step 1,200/350,000  loss 3.4123  lr 5.30e-3  grad 0.876  41,234 tok/s  util 34%  wait 0.1%  left 2 h 05 min",
            ProgressReporter.Describe(Step));

    [Fact]
    public void An_unknown_utilisation_is_left_out() => Assert.DoesNotContain("util", ProgressReporter.Describe(Step with { Utilisation = double.NaN }));

    [Theory]
    [InlineData(200, "┄┄┄┄┄┄┄┄┄┄┄┄ step 1,200/350,000  loss 3.4123  lr 5.30e-3  grad 0.876  41,234 tok/s  util 34%  wait 0.1%  left 2 h 05 min")]
    [InlineData(110, "step 1,200/350,000  loss 3.4123  lr 5.30e-3  grad 0.876  41,234 tok/s  util 34%  wait 0.1%  left 2 h 05 min")]
    [InlineData(90, "1,200/350,000 loss 3.4123 lr 5.30e-3 grad 0.876 41,234 tok/s util 34% left 2 h 05 min")]
    [InlineData(20, "1,200/350,000 loss 3")]
    public void A_narrow_terminal_gets_a_shorter_line(int width, string expected) => Assert.Equal(expected, ProgressReporter.Fit(Step, width));

    [Fact]
    public void Nobody_watching_gets_the_first_the_last_and_every_nth_step_as_plain_lines()
    {
        string[] lines = Log(logInterval: 4, reporter =>
        {
            for (int step = 1; step <= 10; step++)
            {
                reporter.OnStep(Step with { Step = step, TotalSteps = 10 });
            }
        });
        Assert.Equal(["1", "4", "8", "10"], lines.Select(line => line.Split(' ', '/')[2]));
        Assert.All(lines, line => Assert.DoesNotContain('\u001b', line));
    }

    [Fact]
    public void Everything_else_is_said_too()
    {
        string log = string.Join('\n', Log(logInterval: 1, reporter =>
        {
            reporter.OnStart(new RunInfo { Name = "[tiny]", Folder = "x", TotalSteps = 10, StepsDone = 4, Parameters = 1_000_000, TokensPerStep = 4096 });
            reporter.OnValidation(new ValidationMetrics { Step = 5, Loss = Math.Log(8), BitsPerByte = 1.25, Tokens = 9, Duration = TimeSpan.FromSeconds(2) });
            reporter.OnCheckpoint(new CheckpointSaved(6, "x/step-6", TimeSpan.FromSeconds(1)));
            reporter.OnSample(new GeneratedSample(6, "Once", " upon [a] time"));
            reporter.OnEnd(new RunEnd(RunOutcome.Failed, 7, TimeSpan.FromSeconds(70), "the loss is NaN"));
        }));
        foreach (string part in new[]
        {
            "[tiny]: 1,000,000 parameters, 6 steps of 4,096 tokens on cpu in fp32, going on after step 4",
            "step 5: held-out loss 2.0794, perplexity 8.00, 1.2500 bits per byte (2.0 s)", "step 6: saved x/step-6 (1.0 s)",
            "step 6 writes: Once upon [a] time", "failed after step 7 and 1 min 10 s: the loss is NaN",
        })
        {
            Assert.Contains(part, log);
        }
    }

    static string[] Log(long logInterval, Action<ProgressReporter> report)
    {
        using StringWriter output = new(), error = new();
        report(new ProgressReporter(new ConsoleContext(output, error, TimeProvider.System, default), logInterval));
        Assert.Equal("", output.ToString());
        return error.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
