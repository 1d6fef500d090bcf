using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Diagnostics;
using OpenElm.Training.Reporting;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>Puts a finished run's report together from its folder and its outcome.</summary>
internal static class RunReports
{
    /// <summary>Writes <c>report.html</c>.</summary>
    public static void Write(RunFolder folder, RunInfo info, RunConfig run, DataStatistics data, PretrainResult result, RunEnd end, TimeProvider time)
    {
        (IReadOnlyList<StepMetrics> steps, IReadOnlyList<ValidationMetrics> validations) = MetricsLog.Read(folder.MetricsFile);
        double? modelLoss = result.AverageValidationLoss ?? result.ValidationLoss;
        HtmlReport.Write(folder.ReportFile, new RunReport
        {
            Run = info,
            End = end,
            WrittenAt = time.GetUtcNow(),
            Machine = Machine.Current(),
            Configuration = StrictYaml.Write(run),
            Steps = [.. steps],
            Validations = [.. validations],
            Bigram = result.BigramLoss is { } bigram && modelLoss is { } loss && validations is [.., var last]
                ? new BigramComparison("a bigram model with absolute discounting, counted on the training text,", bigram, loss, last.Tokens)
                : null,
            Data =
            [
                new("documents read", $"{data.Documents:n0}"), new("characters read", $"{data.Characters:n0}"),
                new("tokens kept", $"{data.TokensKept:n0}"), new("tokens padded", $"{data.TokensPadded:n0}"), new("tokens dropped", $"{data.TokensDropped:n0}"),
                new("texts dropped by the filters", $"{data.TextsTooShort + data.TextsTooFewTokens:n0}"), new("bad records skipped", $"{data.BadRecords:n0}"),
                new("wait for data", $"{result.DataWaitShare:p2} of the training time"),
            ],
            Model =
            [
                .. run.Model.Resolve() is var model ? new ReportFact[]
                {
                    new("parameters", $"{ParameterCount.Of(model).Total:n0}"),
                    new("layers (query heads/KV heads/FFN width)", string.Join(", ", model.Layers.Select(l => $"{l.QueryHeads}/{l.KvHeads}/{l.FfnDim}"))),
                    new("model width, head size, vocabulary rows", $"{model.ModelDim}, {model.HeadDim}, {model.VocabSize}"),
                    new("validation loss of the averaged weights", result.AverageValidationLoss is { } average ? $"{average:f4}" : "–"),
                } : [],
            ],
            Timings = [.. result.Timings.Select(entry => new ReportTiming(entry.Key, entry.Value))],
            Samples = [.. result.Samples.Select(sample => new GeneratedSample(result.Steps, sample.Prompt, sample.Continuation))],
        });
    }
}
