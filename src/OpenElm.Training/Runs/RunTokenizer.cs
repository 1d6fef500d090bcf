using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.IO;
using OpenElm.Tokenization;

namespace OpenElm.Training;

/// <summary>Gets a run its tokenizer: from the file it names, from the run's folder when it goes on, or trained on the run's text.</summary>
public static class RunTokenizer
{
    /// <summary>Finds or trains the tokenizer.</summary>
    /// <param name="run">The run.</param>
    /// <param name="baseDirectory">The folder that relative paths of the configuration start from.</param>
    /// <param name="save">Whether it is put into the run's folder, where the run will look for it.</param>
    /// <param name="log">Told what takes time and what is skipped.</param>
    /// <param name="cancel">Ends the training.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="OpenElmException">The file is missing or damaged, or the text cannot be read.</exception>
    public static SentencePieceTokenizer Find(RunConfig run, string baseDirectory, bool save, Action<string> log, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(run);
        ArgumentNullException.ThrowIfNull(log);
        string root = Path.GetFullPath(baseDirectory);
        string inRun = new RunFolder(Path.GetFullPath(run.Output, root)).TokenizerFile;
        if (run.Tokenizer.Path is null && File.Exists(inRun))
        {
            return SentencePieceTokenizer.Load(inRun);
        }

        SentencePieceTokenizer tokenizer = run.Tokenizer.Path is { } path ? SentencePieceTokenizer.Load(Path.GetFullPath(path, root)) : Train(run, root, log, cancel);
        if (save)
        {
            AtomicFile.WriteBytes(inRun, tokenizer.ModelBytes);
        }

        return tokenizer;
    }

    /// <summary>Refuses a model whose embedding has no row for some token.</summary>
    internal static void RequireRows(OpenElmConfig model, SentencePieceTokenizer tokenizer)
    {
        int needed = Math.Max(tokenizer.PieceCount, tokenizer.PadId + 1);
        if (model.VocabSize < needed)
        {
            int rounded = (needed + 127) / 128 * 128;
            throw new OpenElmException(
                $"model.vocab_size is {model.VocabSize}, but the tokenizer has {tokenizer.PieceCount} pieces and the padding id {tokenizer.PadId}; set it to {needed} or more, for example {rounded}, a multiple of 128.");
        }
    }

    static SentencePieceTokenizer Train(RunConfig run, string baseDirectory, Action<string> log, CancellationToken cancel)
    {
        int pieces = run.Tokenizer.Train!.VocabSize;
        log($"Training a tokenizer of {pieces} pieces on the training text.");
        IEnumerable<string> texts = new CorpusTexts(run.Data, baseDirectory, log).Read(cancel);
        return new BpeTrainer(new BpeTrainerOptions { VocabularySize = pieces }).Train(texts, cancel);
    }
}
