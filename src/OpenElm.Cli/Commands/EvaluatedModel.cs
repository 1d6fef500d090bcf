using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Evaluation.Engine;
using OpenElm.Inference;
using OpenElm.Inference.Scoring;
using OpenElm.Scoring;
using OpenElm.Tokenization;
using OpenElm.Training;
using OpenElm.Training.Scoring;
using OpenElm.Training.Torch;

namespace OpenElm.Cli.Commands;

/// <summary>How a model is loaded for evaluation.</summary>
internal sealed record EvaluatedModelOptions
{
    public required string Runtime { get; init; }

    public required string Device { get; init; }

    /// <summary>Of another libtorch, for the training runtime; null takes the default.</summary>
    public string? TorchFolder { get; init; }

    public string? Tokenizer { get; init; }

    public int? MaxLength { get; init; }

    public int? Threads { get; init; }

    public string? Kernels { get; init; }

    public KvCacheType Kv { get; init; }

    public ImmutableArray<AdapterPath> Adapters { get; init; } = [];

    /// <summary>Of the answers; null keeps none.</summary>
    public string? CacheFolder { get; init; }
}

/// <summary>A model ready to be evaluated on one of the runtimes, with the answers it has given before.</summary>
internal sealed class EvaluatedModel : IDisposable
{
    readonly IDisposable _model;

    EvaluatedModel(IDisposable model, IContinuationScorer scorer, SentencePieceTokenizer tokenizer, string runtime, AnswerCache? cache) =>
        (_model, Scorer, Tokenizer, Runtime, Cache) = (model, scorer, new RequestTokenizer(tokenizer, scorer.MaxLength), runtime, cache);

    public IContinuationScorer Scorer { get; }

    public RequestTokenizer Tokenizer { get; }

    /// <summary>For tasks that have the model write; null where the runtime cannot.</summary>
    public TextModel? Writer { get; private init; }

    public string Runtime { get; }

    public AnswerCache? Cache { get; }

    public static EvaluatedModel Load(string path, EvaluatedModelOptions options, CommandContext context) =>
        options.Runtime == EvaluateArguments.Training ? LoadTensors(path, options, context) : LoadSpans(path, options, context);

    // The model of OpenElm.Training.
    static EvaluatedModel LoadTensors(string path, EvaluatedModelOptions options, CommandContext context)
    {
        TorchLibrary.EnsureLoaded(new TorchOptions { Folder = options.TorchFolder });
        using var checkpoint = Checkpoint.Open(path);
        SentencePieceTokenizer tokenizer = options.Tokenizer is { } file ? SentencePieceTokenizer.Load(file)
            : checkpoint.Tokenizer is { } bytes ? SentencePieceTokenizer.Parse(bytes.Span)
            : throw new OpenElmException($"Evaluation needs a tokenizer, and {path} has none; name a tokenizer.model with --tokenizer.");
        var module = new OpenElmModule(checkpoint.Config, new ModuleOptions { Device = options.Device });
        try
        {
            module.Load(checkpoint.Weights);
            var scorer = new TorchContinuationScorer(module, tokenizer.PieceCount, options.MaxLength);
            string runtime = $"training {options.Device} fp32";
            return new EvaluatedModel(module, scorer, tokenizer, runtime, OpenCache(path, options, tokenizer.PieceCount, runtime, context));
        }
        catch
        {
            module.Dispose();
            throw;
        }
    }

    // The model of OpenElm.Inference.
    static EvaluatedModel LoadSpans(string path, EvaluatedModelOptions options, CommandContext context)
    {
        TextModel model = TextModel.Load(
            path,
            new InferenceOptions { MaxLength = options.MaxLength, Threads = options.Threads, Kernels = options.Kernels, KvCache = options.Kv, Adapters = options.Adapters, Warn = context.Warn },
            options.Tokenizer);
        try
        {
            SentencePieceTokenizer tokenizer = model.RequireTokenizer("Evaluation");
            var scorer = new CpuContinuationScorer(model.Model, tokenizer, options.MaxLength);
            return new EvaluatedModel(model, scorer, tokenizer, $"inference {model.Model.KernelName}", OpenCache(path, options, model.Candidates, ModelFingerprint.RuntimeOf(model.Model), context)) { Writer = model };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        Cache?.Dispose();
        Scorer.Dispose();
        _model.Dispose();
    }

    static AnswerCache? OpenCache(string path, EvaluatedModelOptions options, int candidates, string runtime, CommandContext context)
    {
        if (options.CacheFolder is not { } folder)
        {
            return null;
        }

        using var checkpoint = Checkpoint.Open(path);
        ScaledAdapter[] adapters = [.. options.Adapters.Select(adapter => new ScaledAdapter(Adapter.Open(adapter.Path, checkpoint.Config), adapter.Scale))];
        try
        {
            return AnswerCache.Open(folder, ModelFingerprint.Of(checkpoint, candidates, runtime, adapters), context.Warn);
        }
        finally
        {
            Array.ForEach(adapters, adapter => adapter.Adapter.Dispose());
        }
    }
}
