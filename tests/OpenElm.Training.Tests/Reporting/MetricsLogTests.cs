using System.Text.Json;
using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

public sealed class MetricsLogTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    string LogPath => _folder["run/metrics.jsonl"];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_event_is_one_JSON_line()
    {
        using (MetricsLog log = MetricsLog.Open(LogPath))
        {
            log.OnStart(Runs.Info);
            log.OnStep(Runs.Step(1, 5.5));
            log.OnValidation(new ValidationMetrics { Step = 1, Loss = Math.Log(4), Tokens = 10, BitsPerByte = 1.5, Measured = [new("accuracy", 0.75)], Duration = TimeSpan.FromSeconds(1.5) });
            log.OnSample(new GeneratedSample(1, "Once", " upon\na \"time\""));
            log.OnCheckpoint(new CheckpointSaved(1, "runs/x/step-1", TimeSpan.FromSeconds(2)));
            log.OnMessage("hello");
            log.OnEnd(new RunEnd(RunOutcome.Stopped, 1, TimeSpan.FromSeconds(3), "Ctrl-C"));
        }

        JsonElement[] lines = [.. File.ReadAllLines(LogPath).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(["start", "step", "validation", "sample", "checkpoint", "message", "end"], lines.Select(line => line.GetProperty("kind").GetString()));
        Assert.Equal((5.5, 0.01, 0.75), (lines[1].GetProperty("loss").GetDouble(), lines[1].GetProperty("z_loss").GetDouble(), lines[2].GetProperty("accuracy").GetDouble()));
        Assert.Equal((4.0, 1.5), (Math.Round(lines[2].GetProperty("perplexity").GetDouble(), 12), lines[2].GetProperty("duration").GetDouble()));
        Assert.Equal(" upon\na \"time\"", lines[3].GetProperty("text").GetString());
        Assert.Equal("stopped", lines[6].GetProperty("outcome").GetString());
    }

    [Fact]
    public void A_line_is_on_the_way_to_the_disk_as_soon_as_it_is_logged()
    {
        using MetricsLog log = MetricsLog.Open(LogPath);
        log.OnStep(Runs.Step(1, 5));
        using var reader = new StreamReader(new FileStream(LogPath, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        Assert.EndsWith("}\n", reader.ReadToEnd());
    }

    [Fact]
    public void Steps_and_validations_can_be_read_back()
    {
        StepMetrics[] steps = [Runs.Step(1, double.PositiveInfinity), Runs.Step(2, 3.25) with { Utilisation = 0.5, TimeLeft = TimeSpan.FromSeconds(0.5) }];
        var validation = new ValidationMetrics { Step = 2, Loss = 3, Tokens = 7, Measured = [new("accuracy", double.NaN)] };
        using (MetricsLog log = MetricsLog.Open(LogPath))
        {
            log.OnStep(steps[0]);
            log.OnStep(steps[1]);
            log.OnValidation(validation);
        }

        (IReadOnlyList<StepMetrics> readSteps, IReadOnlyList<ValidationMetrics> readValidations) = MetricsLog.Read(LogPath);
        Assert.Equivalent(steps, readSteps, strict: true);
        Assert.Equivalent(new[] { validation }, readValidations, strict: true);
    }

    [Fact]
    public void Going_on_drops_a_torn_line_and_what_came_after_the_checkpoint()
    {
        using (MetricsLog log = MetricsLog.Open(LogPath))
        {
            for (int step = 1; step <= 5; step++)
            {
                log.OnStep(Runs.Step(step, 10 - step));
            }
        }

        File.AppendAllText(LogPath, """{"kind":"step","ste"""); // killed while writing
        using (MetricsLog log = MetricsLog.Open(LogPath, stepsDone: 3))
        {
            log.OnStep(Runs.Step(4, 0.5));
        }

        Assert.Equal([(1, 9.0), (2, 8.0), (3, 7.0), (4, 0.5)], MetricsLog.Read(LogPath).Steps.Select(step => (step.Step, step.Loss)));
    }

    [Fact]
    public void A_new_run_begins_a_new_log()
    {
        MetricsLog.Open(LogPath).Dispose();
        File.WriteAllText(LogPath, "old\n");
        MetricsLog.Open(LogPath).Dispose();
        Assert.Equal("", File.ReadAllText(LogPath));
    }
}
