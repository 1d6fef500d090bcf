using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Readers;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>The documents of a corpus as text, once, in the order of the configuration: what a tokenizer is trained on.</summary>
public sealed class CorpusTexts
{
    readonly DataConfig _config;
    readonly ImmutableArray<DataFile> _files;
    readonly Action<string>? _onWarning;

    /// <summary>Names the documents; the files are checked at once.</summary>
    /// <param name="config">The files, whether to clean up, and what to do with bad records.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="onWarning">Told about every file whose rest is skipped.</param>
    /// <exception cref="OpenElmException">Files are missing.</exception>
    public CorpusTexts(DataConfig config, string baseDirectory, Action<string>? onWarning = null) =>
        (_config, _files, _onWarning) = (config, DataFile.Expand(config, baseDirectory, LocalFiles.Instance), onWarning);

    /// <summary>Reads the documents.</summary>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>Each document, cleaned up if the configuration says so.</returns>
    /// <exception cref="OpenElmException">A file or record cannot be read, and bad ones are not to be skipped.</exception>
    public IEnumerable<string> Read(CancellationToken cancel = default)
    {
        var counters = new DataCounters();
        foreach (DataFile file in _files)
        {
            using var documents = new FileDocuments(file, LocalFiles.Instance, _config.OnBadRecord, counters, _onWarning);
            while (documents.Read())
            {
                cancel.ThrowIfCancellationRequested();
                string text = documents.Text.ToString();
                yield return _config.CleanUp ? TextCleanup.FixText(text) : text;
            }
        }
    }
}
