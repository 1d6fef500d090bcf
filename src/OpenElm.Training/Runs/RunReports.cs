using OpenElm.Diagnostics;
using OpenElm.Training.Reporting;
using OpenElm.Yaml;

namespace OpenElm.Training;

/// <summary>Puts a finished run's report together from its folder and its outcome.</summary>
internal static class RunReports
{
    /// <summary>Writes <c>report.html</c>.</summary>
    public static void Write<TBatch>(RunParts<TBatch> parts, RunInfo info, RunResult result, RunEnd end)
    {
        RunFolder folder = parts.Start.Folder;
        (IReadOnlyList<StepMetrics> steps, IReadOnlyList<ValidationMetrics> validations) = MetricsLog.Read(folder.MetricsFile);
        double? modelLoss = result.AverageValidationLoss ?? result.ValidationLoss;
        HtmlReport.Write(folder.ReportFile, new RunReport
        {
            Run = info,
            End = end,
            WrittenAt = parts.Options.Time.GetUtcNow(),
            Machine = Machine.Current(),
            Configuration = StrictYaml.Write(parts.Config),
            Steps = [.. steps],
            Validations = [.. validations],
            Bigram = result.BigramLoss is { } bigram && modelLoss is { } loss && validations is [.., var last]
                ? new BigramComparison("a bigram model with absolute discounting, counted on the training text,", bigram, loss, last.Tokens)
                : null,
            Data = [.. parts.DataFacts(), new("wait for data", $"{result.DataWaitShare:p2} of the training time")],
            RewardAccuracy = result.RewardAccuracy,
            Model = [.. parts.ModelFacts, new("validation loss of the averaged weights", result.AverageValidationLoss is { } average ? $"{average:f4}" : "–")],
            Timings = [.. result.Timings.Select(entry => new ReportTiming(entry.Key, entry.Value))],
            Samples = [.. result.Samples.Select(sample => new GeneratedSample(result.Steps, sample.Prompt, sample.Continuation))],
        });
    }

    /// <summary>What every report says about a model.</summary>
    /// <param name="model">The architecture.</param>
    public static ReportFact[] FactsOf(Configuration.OpenElmConfig model) =>
    [
        new("parameters", $"{Configuration.ParameterCount.Of(model).Total:n0}"),
        new("layers (query heads/KV heads/FFN width)", string.Join(", ", model.Layers.Select(l => $"{l.QueryHeads}/{l.KvHeads}/{l.FfnDim}"))),
        new("model width, head size, vocabulary rows", $"{model.ModelDim}, {model.HeadDim}, {model.VocabSize}"),
    ];
}
