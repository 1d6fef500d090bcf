using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Inference;

namespace OpenElm.Cli.Commands;

/// <summary>Folds adapters into the weights of a model, so that every program runs it as an ordinary model.</summary>
internal static class MergeCommand
{
    static readonly TimeSpan ProgressInterval = TimeSpan.FromSeconds(5);

    static readonly Dictionary<string, DType> Types = new(StringComparer.OrdinalIgnoreCase) { ["fp32"] = DType.F32, ["bf16"] = DType.BF16, ["fp16"] = DType.F16 };

    public static Command Create(CommandContext context)
    {
        var model = new Argument<string>("model") { Description = "The base model, of any format" };
        var adapters = new Argument<string[]>("adapters") { Description = "The adapters: folders in PEFT's layout, or CoreNet's files; what several do adds up", Arity = ArgumentArity.OneOrMore };
        var output = new Option<string>("--output", "-o") { Description = "The model folder to write", Required = true };
        var scales = new Option<double[]>("--scale") { Description = "How strongly, 1 as trained; once for each adapter, in their order", DefaultValueFactory = _ => [] };
        var dtype = new Option<string?>("--dtype") { Description = "Type of the weights: fp32, bf16 or fp16 (default: the model's own, fp32 of quantised weights)" };
        dtype.AcceptOnlyFromAmong([.. Types.Keys]);
        var overwrite = new Option<bool>("--overwrite") { Description = "Replace the output folder if it exists" };
        var command = new Command("merge", "Fold LoRA and DoRA adapters into the weights of a model") { model, adapters, output, scales, dtype, overwrite };
        command.SetAction(parsed => Run(
            context,
            parsed.GetRequiredValue(model),
            AdapterArguments.Pair(parsed.GetRequiredValue(adapters), parsed.GetValue(scales) ?? [], "--scale"),
            parsed.GetRequiredValue(output),
            parsed.GetValue(dtype) is { } name ? Types[name] : null,
            parsed.GetValue(overwrite)));
        return command.WithExamples(
            "openelm merge openelm-270m runs/lora/adapter --output openelm-270m-tuned",
            "openelm merge openelm-270m-q8.gguf runs/lora/adapter --output merged --dtype bf16",
            "openelm merge openelm-270m style facts --scale 0.5 --scale 1 --output merged --json",
            "openelm merge finetuned.pt finetuned.pt --output merged");
    }

    static void Run(CommandContext context, string path, ImmutableArray<AdapterPath> paths, string output, DType? dtype, bool overwrite)
    {
        using var model = Checkpoint.Open(path);
        var adapters = new List<ScaledAdapter>();
        try
        {
            foreach (AdapterPath adapter in paths)
            {
                adapters.Add(new ScaledAdapter(Adapter.Open(adapter.Path, model.Config), adapter.Scale));
            }

            foreach (string note in model.Notes.Concat(adapters.SelectMany(adapter => adapter.Adapter.Notes)))
            {
                context.Log(note);
            }

            ModelContent content = AdapterMerge.Content(model, adapters, dtype, context.Cancellation);
            AdapterMerge.Write(output, WithProgress(context, content), [.. paths.Select(adapter => adapter.Path), path], overwrite);
            Report(context, output, model, adapters, content);
        }
        finally
        {
            adapters.ForEach(adapter => adapter.Adapter.Dispose());
        }
    }

    static ModelContent WithProgress(CommandContext context, ModelContent content)
    {
        long total = content.Weights.Sum(weight => weight.ByteCount), done = 0, reported = context.Time.GetTimestamp();
        return content with
        {
            Weights = [.. content.Weights.Select(weight => weight with
            {
                Write = stream =>
                {
                    weight.Write(stream);
                    done += weight.ByteCount;
                    if (context.Time.GetElapsedTime(reported) > ProgressInterval)
                    {
                        reported = context.Time.GetTimestamp();
                        context.Log($"{Quantity.Bytes(done)} of {Quantity.Bytes(total)} written");
                    }
                },
            })],
        };
    }

    static void Report(CommandContext context, string output, Checkpoint model, List<ScaledAdapter> adapters, ModelContent content)
    {
        bool untied = model.Config.ShareInputOutputLayers != content.Config.ShareInputOutputLayers;
        long bytes = content.Weights.Sum(weight => weight.ByteCount);
        if (context.IsJson)
        {
            context.WriteJson(new
            {
                Output = output,
                Model = model.Path,
                Adapters = adapters.Select(adapter => new { adapter.Adapter.Path, adapter.Scale, Modules = adapter.Adapter.Modules.Length, adapter.Adapter.Parameters }).ToArray(),
                Bytes = bytes,
                UntiedHead = untied,
                Notes = model.Notes.Concat(adapters.SelectMany(adapter => adapter.Adapter.Notes)).ToArray(),
            });
            return;
        }

        foreach ((Adapter adapter, double scale) in adapters)
        {
            context.Log($"{adapter.Path}: {adapter.Modules.Length} modules, {adapter.Parameters:N0} parameters{(scale == 1 ? "" : $", scale {scale}")}");
        }

        if (untied)
        {
            context.Log("The adapter of the embedding changes what goes in only, so the merged model has a head of its own: the embedding without the adapter.");
        }

        context.Log($"{Quantity.Bytes(bytes)} of weights");
        context.Output.WriteLine(output);
    }
}
