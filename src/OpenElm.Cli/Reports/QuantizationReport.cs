using System.Globalization;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference.Calibration;
using OpenElm.Inference.Scoring;
using OpenElm.Quantization;

namespace OpenElm.Cli.Reports;

/// <summary>What <c>openelm quantize</c> prints: types, sizes and errors by kind of weight, and what the model lost.</summary>
/// <param name="Model">The written model.</param>
/// <param name="Output">Where it is.</param>
/// <param name="Took">How long quantising and writing took.</param>
/// <param name="Calibration">What the calibration text told, or null.</param>
/// <param name="Before">What the source made of the text, or null without a text.</param>
internal sealed record QuantizationReport(QuantizedModel Model, string Output, TimeSpan Took, Calibration? Calibration, TextPredictions? Before)
{
    /// <summary>What the written model made of the text.</summary>
    public TextPredictions? After { get; init; }

    /// <summary>What the same format without calibration made of the text.</summary>
    public TextPredictions? WithoutCalibration { get; init; }

    long FileBytes => File.Exists(Output) ? new FileInfo(Output).Length : new DirectoryInfo(Output).EnumerateFiles().Sum(file => file.Length);

    public void Write(CommandContext context)
    {
        if (context.IsJson)
        {
            context.WriteJson(Document());
            return;
        }

        foreach (string note in Notes())
        {
            context.Warn(note);
        }

        WriteKinds(context.Output);
        TensorError all = Sum(Model.Tensors);
        context.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Output}: {Quantity.Bytes(FileBytes)}, {BitsPerWeight(Model.Tensors):F2} bits per weight, relative error {all.RelativeRmse:P2}, {Took.TotalSeconds:F1} s"));
        if (Before is null || After is null)
        {
            context.Log("name a held-out text with --text to see perplexity and agreement before and after");
            return;
        }

        var table = new TextTable("model", "perplexity", "change", "top-1 agreement");
        table.Add("before", Before.Perplexity.PerToken, "", "");
        Add(table, Calibration is null ? "after" : "after, calibrated", After);
        if (WithoutCalibration is { } without)
        {
            Add(table, "without calibration", without);
        }

        table.WriteTo(context.Output);
    }

    void Add(TextTable table, string name, TextPredictions predictions) => table.Add(
        name, predictions.Perplexity.PerToken, Percent((predictions.Perplexity.PerToken / Before!.Perplexity.PerToken) - 1), predictions.AgreementWith(Before).ToString("P2", CultureInfo.InvariantCulture));

    static string Percent(double change) => change.ToString("+0.00%;-0.00%", CultureInfo.InvariantCulture);

    void WriteKinds(TextWriter output)
    {
        var table = new TextTable("weights", "format", "parameters", "bits per weight", "RMS error", "relative");
        foreach (IGrouping<string, QuantizedTensor> kind in Model.Tensors.GroupBy(tensor => Kind(tensor.Weight.Name)))
        {
            TensorError error = Sum(kind);
            table.Add(kind.Key, Formats(kind), error.Elements, BitsPerWeight(kind), error.Rmse, error.RelativeRmse.ToString("P2", CultureInfo.InvariantCulture));
        }

        table.WriteTo(output);
    }

    IEnumerable<string> Notes() => Model.Tensors.Where(tensor => tensor.Format.Note is not null)
        .GroupBy(tensor => (Kind: Kind(tensor.Weight.Name), tensor.Format.Note))
        .Select(group => $"{group.Key.Kind} ({group.Count()}): {group.Key.Note}");

    object Document() => new
    {
        Output,
        Format = Model.Recipe.Name,
        FileBytes,
        BitsPerWeight = BitsPerWeight(Model.Tensors),
        Sum(Model.Tensors).Rmse,
        Sum(Model.Tensors).RelativeRmse,
        Seconds = Took.TotalSeconds,
        Notes = Notes(),
        Weights = Model.Tensors.Select(tensor => new
        {
            tensor.Weight.Name,
            tensor.Weight.Shape,
            Format = tensor.Format.DType.ToString(),
            tensor.Format.Note,
            tensor.HasImportance,
            Bytes = tensor.StoredBytes,
            Model.Errors[tensor.Weight.Name].Rmse,
            Model.Errors[tensor.Weight.Name].RelativeRmse,
        }),
        Calibration = Calibration is null ? null : new { Calibration.Importance.Tokens, Calibration.LargestActivation, Calibration.LargestPlace, OverflowsInFp16 = Calibration.HalfOverflow is not null },
        Before = Measured(Before),
        After = Measured(After),
        WithoutCalibration = Measured(WithoutCalibration),
    };

    object? Measured(TextPredictions? predictions) => predictions is null ? null : new
    {
        predictions.Perplexity.Tokens,
        Perplexity = predictions.Perplexity.PerToken,
        Top1Agreement = predictions.AgreementWith(Before!),
    };

    TensorError Sum(IEnumerable<QuantizedTensor> tensors) => tensors.Aggregate(default(TensorError), (sum, tensor) => sum + Model.Errors[tensor.Weight.Name]);

    static double BitsPerWeight(IEnumerable<QuantizedTensor> tensors) =>
        8.0 * tensors.Sum(tensor => tensor.StoredBytes) / tensors.Sum(tensor => tensor.Weight.Elements);

    static string Formats(IEnumerable<QuantizedTensor> tensors)
    {
        IGrouping<DType, QuantizedTensor>[] formats = [.. tensors.GroupBy(tensor => tensor.Format.DType)];
        return formats is [var one] ? one.Key.ToString() : string.Join(", ", formats.Select(format => $"{format.Count()}× {format.Key}"));
    }

    // layers.3.attn.qkv_proj.weight → qkv_proj
    static string Kind(string name) => name switch
    {
        TensorNames.Embedding => "embedding",
        TensorNames.Classifier => "head",
        _ when name.EndsWith("norm.weight", StringComparison.Ordinal) => "norms",
        _ => name.Split('.')[^2],
    };
}
