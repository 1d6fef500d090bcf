using System.Globalization;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Commands;

/// <summary>The output of <c>openelm info MODEL</c>, as text and as a JSON document.</summary>
/// <param name="Name">What the user called the model.</param>
/// <param name="BatchSize">Sequences of the micro-batch that the memory for training is for.</param>
/// <param name="SequenceLength">Tokens of a sequence, for training and for the cache.</param>
/// <param name="Info">The computed facts.</param>
/// <param name="Checkpoint">The checkpoint's files; null for a bare architecture.</param>
internal sealed record ModelReport(string Name, int BatchSize, int SequenceLength, ModelInfo Info, CheckpointFacts? Checkpoint)
{
    public void WriteText(TextWriter output)
    {
        OpenElmConfig config = Info.Config;
        output.WriteLine($"{Name}: {Info.Parameters.Total:N0} parameters, {config.Layers.Length} layers");
        output.WriteLine($"model dim {config.ModelDim}, head dim {config.HeadDim}, vocabulary {config.VocabSize:N0} rows, context {config.MaxContextLength:N0} tokens (at most {config.RopeMaxLength:N0})");
        output.WriteLine(string.Join(", ",
            config.FfnWithGlu ? "SwiGLU" : "no gate",
            config.NormalizeQkProjections ? "QK-norm" : "no QK-norm",
            config.ShareInputOutputLayers ? "tied embeddings" : "untied embeddings",
            string.Create(CultureInfo.InvariantCulture, $"RoPE base {config.RopeFreqConstant}, RMSNorm epsilon {config.RmsNormEps}")));

        Section(output, "Layers");
        var layers = new TextTable("layer", "query heads", "KV heads", "FFN dim", "parameters");
        for (int i = 0; i < config.Layers.Length; i++)
        {
            LayerShape layer = config.Layers[i];
            layers.Add(i, layer.QueryHeads, layer.KvHeads, layer.FfnDim, Info.LayerParameters[i]);
        }

        layers.WriteTo(output);

        Section(output, "Parameters");
        var parameters = new TextTable("part", "parameters");
        parameters.Add("embedding", Info.Parameters.Embedding);
        parameters.Add("output head (0: tied)", Info.Parameters.Head);
        parameters.Add("attention", Info.Parameters.Attention);
        parameters.Add("feed-forward", Info.Parameters.FeedForward);
        parameters.Add("norms", Info.Parameters.Norm);
        parameters.Add("non-embedding", Info.Parameters.NonEmbedding);
        parameters.Add("total", Info.Parameters.Total);
        parameters.WriteTo(output);

        WriteMemory(output);
        if (Checkpoint is not null)
        {
            WriteCheckpoint(output, Checkpoint);
        }
    }

    /// <summary>The machine-readable document.</summary>
    public ModelDocument ToDocument() => new()
    {
        Model = Name,
        VocabSize = Info.Config.VocabSize,
        ModelDim = Info.Config.ModelDim,
        HeadDim = Info.Config.HeadDim,
        MaxContextLength = Info.Config.MaxContextLength,
        RopeMaxLength = Info.Config.RopeMaxLength,
        FfnWithGlu = Info.Config.FfnWithGlu,
        NormalizeQkProjections = Info.Config.NormalizeQkProjections,
        ShareInputOutputLayers = Info.Config.ShareInputOutputLayers,
        RopeFreqConstant = Info.Config.RopeFreqConstant,
        RmsNormEps = Info.Config.RmsNormEps,
        Layers = [.. Info.Config.Layers.Select((layer, i) => new ModelDocument.Layer(layer.QueryHeads, layer.KvHeads, layer.FfnDim, Info.LayerParameters[i]))],
        Parameters = Info.Parameters,
        KvCacheBytesPerToken = new(4 * Info.KvCacheElementsPerToken, 2 * Info.KvCacheElementsPerToken),
        TrainingMemory = new(BatchSize, SequenceLength, Info.Training.Weights, Info.Training.Gradients, Info.Training.OptimizerState, Info.Training.Activations, Info.Training.Total),
        InferenceMemory = new(SequenceLength, Info.InferenceFp32, Info.InferenceBf16),
        Checkpoint = Checkpoint,
    };

    void WriteMemory(TextWriter output)
    {
        Section(output, $"Memory for training ({BatchSize} x {SequenceLength:N0} tokens, fp32)");
        var training = new TextTable("what", "bytes", "");
        training.Add("weights", Info.Training.Weights, Quantity.Bytes(Info.Training.Weights));
        training.Add("gradients", Info.Training.Gradients, Quantity.Bytes(Info.Training.Gradients));
        training.Add("AdamW state", Info.Training.OptimizerState, Quantity.Bytes(Info.Training.OptimizerState));
        training.Add("activations (estimate)", Info.Training.Activations, Quantity.Bytes(Info.Training.Activations));
        training.Add("total", Info.Training.Total, Quantity.Bytes(Info.Training.Total));
        training.WriteTo(output);

        Section(output, $"Memory for inference (one sequence of {SequenceLength:N0} tokens)");
        var inference = new TextTable("type", "KV cache per token", "KV cache", "weights", "total");
        foreach ((string type, int size, InferenceMemory memory) in new[] { ("fp32", 4, Info.InferenceFp32), ("bf16", 2, Info.InferenceBf16) })
        {
            inference.Add(type, size * Info.KvCacheElementsPerToken, Quantity.Bytes(memory.KvCache), Quantity.Bytes(memory.Weights), Quantity.Bytes(memory.Total));
        }

        inference.WriteTo(output);
    }

    static void WriteCheckpoint(TextWriter output, CheckpointFacts checkpoint)
    {
        Section(output, $"Files ({FormatName(checkpoint.Format)})");
        var files = new TextTable("file", "bytes", "");
        foreach (CheckpointFile file in checkpoint.Files)
        {
            files.Add(file.Name, file.Bytes, Quantity.Bytes(file.Bytes));
        }

        files.WriteTo(output);

        Section(output, "Weights");
        var types = new TextTable("type", "tensors", "bytes");
        foreach (CheckpointWeightType type in checkpoint.WeightTypes)
        {
            types.Add(type.Type.ToString(), type.Tensors, type.Bytes);
        }

        types.WriteTo(output);
        output.WriteLine();
        output.WriteLine(checkpoint.Tokenizer is { } tokenizer
            ? $"Tokenizer: {tokenizer.Pieces:N0} pieces (BOS {tokenizer.BosId}, EOS {tokenizer.EosId}, unknown {tokenizer.UnknownId}, padding {tokenizer.PadId}); {checkpoint.Config.VocabSize - tokenizer.Pieces:N0} rows of the embedding are padding."
            : "There is no tokenizer.");
        foreach (string note in checkpoint.Notes)
        {
            output.WriteLine(note);
        }
    }

    static string FormatName(CheckpointFormat format) => format switch
    {
        CheckpointFormat.HuggingFace => "a Hugging Face folder",
        CheckpointFormat.MlxLm => "a quantised folder of mlx-lm",
        CheckpointFormat.Mlx => "a folder of Apple's MLX example",
        CheckpointFormat.CoreNet => "a CoreNet checkpoint",
        CheckpointFormat.Gguf => "GGUF",
        _ => "a llama2.c checkpoint",
    };

    static void Section(TextWriter output, string title)
    {
        output.WriteLine();
        output.WriteLine(title);
    }
}
