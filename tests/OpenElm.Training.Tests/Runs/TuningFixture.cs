using System.IO.Hashing;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Tokenization;
using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Runs;

/// <summary>What the tests of tuning runs share: a tiny model folder, and ways to stop a run and to look at its checkpoints.</summary>
internal static class TuningFixture
{
    public static readonly OpenElmConfig Model = new OpenElmConfig
    {
        VocabSize = 384,
        MaxContextLength = 80,
        NumTransformerLayers = 2,
        ModelDim = 32,
        HeadDim = 8,
        QkvMultipliers = (0.5, 1.0),
        QueryHeadsPerKvHead = 2,
        FfnMultipliers = (1.0, 2.0),
        FfnDimDivisor = 16,
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    }.Validated();

    /// <summary>Writes a model with random weights and a tokenizer of these texts.</summary>
    public static void WriteModel(string folder, IEnumerable<string> texts, int seed)
    {
        SentencePieceTokenizer tokenizer = new BpeTrainer(new BpeTrainerOptions { VocabularySize = 330 }).Train(
            texts.Concat(["<|system|>", "<|user|>", "<|assistant|>"]), TestContext.Current.CancellationToken);
        ModelFolderWriter.Write(folder, RandomModel.Create(Model, seed: seed) with { Tokenizer = tokenizer.ModelBytes }, overwrite: true);
    }

    /// <summary>The hash of a file of a checkpoint.</summary>
    public static byte[] Hash(string output, long step, string file) => XxHash3.Hash(File.ReadAllBytes(Path.Combine(new RunFolder(output).CheckpointFolder(step), file)));
}

/// <summary>Asks a run to stop after a step.</summary>
internal sealed class Stopper(int stop, CancellationTokenSource cancel) : IRunObserver
{
    public void OnStep(StepMetrics step)
    {
        if (step.Step == stop)
        {
            cancel.Cancel();
        }
    }
}
