using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Tokenization;

namespace OpenElm.Cli.Tests;

/// <summary>A model folder for tests of tuning: random weights, and a tokenizer that knows the tags of Zephyr's template.</summary>
internal static class TinyChatModel
{
    /// <summary>Writes the folder.</summary>
    public static void Write(string folder, IEnumerable<string> texts)
    {
        SentencePieceTokenizer tokenizer = new BpeTrainer(new BpeTrainerOptions { VocabularySize = 310 }).Train(
            texts.Concat(["<|system|>", "<|user|>", "<|assistant|>"]), TestContext.Current.CancellationToken);
        OpenElmConfig model = new OpenElmConfig
        {
            VocabSize = 320,
            MaxContextLength = 96,
            NumTransformerLayers = 1,
            ModelDim = 16,
            HeadDim = 8,
            FfnMultipliers = 2.0,
            FfnDimDivisor = 8,
            ShareInputOutputLayers = true,
        }.Validated();
        ModelFolderWriter.Write(folder, RandomModel.Create(model, seed: 1) with { Tokenizer = tokenizer.ModelBytes });
    }
}
