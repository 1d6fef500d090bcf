using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Tokenization;

namespace OpenElm.Training;

/// <summary>Gets a run its tokenizer: from a file, from the run's folder when it goes on, or trained on the run's text.</summary>
internal static class RunTokenizer
{
    /// <summary>Loads or trains the tokenizer and puts it into the run's folder.</summary>
    public static SentencePieceTokenizer Prepare(RunConfig run, RunFolder folder, string baseDirectory, Action<string> log, CancellationToken cancel)
    {
        if (run.Tokenizer.Path is { } path)
        {
            SentencePieceTokenizer given = SentencePieceTokenizer.Load(Path.GetFullPath(path, baseDirectory));
            AtomicFile.WriteBytes(folder.TokenizerFile, given.ModelBytes);
            return given;
        }

        if (File.Exists(folder.TokenizerFile))
        {
            return SentencePieceTokenizer.Load(folder.TokenizerFile);
        }

        int pieces = run.Tokenizer.Train!.VocabSize;
        log($"Training a tokenizer of {pieces} pieces on the training text.");
        var trainer = new BpeTrainer(new BpeTrainerOptions { VocabularySize = pieces });
        SentencePieceTokenizer trained = trainer.Train(new CorpusTexts(run.Data, baseDirectory).Read(cancel), cancel);
        AtomicFile.WriteBytes(folder.TokenizerFile, trained.ModelBytes);
        return trained;
    }

    /// <summary>Refuses a model whose embedding has no row for some token.</summary>
    public static void RequireRows(OpenElmConfig model, SentencePieceTokenizer tokenizer)
    {
        int needed = Math.Max(tokenizer.PieceCount, tokenizer.PadId + 1);
        if (model.VocabSize < needed)
        {
            int rounded = (needed + 127) / 128 * 128;
            throw new OpenElmException(
                $"model.vocab_size is {model.VocabSize}, but the tokenizer has {tokenizer.PieceCount} pieces and the padding id {tokenizer.PadId}; set it to {needed} or more, for example {rounded}, a multiple of 128.");
        }
    }
}
