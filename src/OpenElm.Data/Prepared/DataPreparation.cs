using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Prepared;
using OpenElm.Data.Texts;
using OpenElm.Distributed;
using OpenElm.IO;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>How <see cref="DataPreparation"/> writes.</summary>
public sealed record PrepareOptions
{
    /// <summary>No file of tokens gets larger, unless a single text is. Default 60 MB, so that they travel.</summary>
    public long PieceBytes { get; init; } = 60_000_000;

    /// <summary>Replaces an existing folder.</summary>
    public bool Overwrite { get; init; }

    /// <summary>The ranks that share the files, on one file system; null for a process that is alone.</summary>
    public IProcessGroup? Group { get; init; }
}

/// <summary>
/// Tokenizes a corpus once: split, filters, clean-up and tokens of every file, without order, shards or sequences, which are made
/// when it is read. The folder appears whole or not at all, and gives the same batches as the texts.
/// </summary>
public static class DataPreparation
{
    /// <summary>Tokenizes all files, <see cref="DataConfig.Workers"/> at a time.</summary>
    /// <param name="config">The files, mode and filters.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="folder">Where to write.</param>
    /// <param name="options">Null takes the defaults.</param>
    /// <param name="onFile">Told about every finished file; called from several threads.</param>
    /// <param name="onWarning">Told about every record that is skipped; called from several threads.</param>
    /// <param name="cancel">Ends the work; nothing is left behind.</param>
    /// <returns>What was written.</returns>
    /// <exception cref="OpenElmException">Values that cannot be, a file that cannot be read, or a folder that exists.</exception>
    public static PreparedManifest Write(DataConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, string folder,
        PrepareOptions? options = null, Action<PreparedFile>? onFile = null, Action<string>? onWarning = null, CancellationToken cancel = default) =>
        Write(config, baseDirectory, new SentencePieceEncoder(tokenizer), folder, options, onFile, onWarning, cancel);

    internal static PreparedManifest Write(DataConfig config, string baseDirectory, ITextEncoder encoder, string folder,
        PrepareOptions? options = null, Action<PreparedFile>? onFile = null, Action<string>? onWarning = null, CancellationToken cancel = default)
    {
        options ??= new PrepareOptions();
        config = config.Checked();
        if (options.PieceBytes < 1)
        {
            throw new OpenElmException($"The size of a piece is {options.PieceBytes} bytes; it must be at least 1.");
        }

        ImmutableArray<DataFile> files = DataFile.Expand(config, baseDirectory, LocalFiles.Instance);
        int bytesPerToken = Math.Max(encoder.PieceCount - 1, encoder.PadId) <= ushort.MaxValue ? sizeof(ushort) : sizeof(int);
        var prepared = new PreparedFile[files.Length];
        var manifest = new PreparedManifest
        {
            Format = PreparedManifest.CurrentFormat,
            Settings = PreparedManifest.SettingsOf(config),
            Tokenizer = encoder.Fingerprint,
            Files = [],
        };
        // Files are dealt to the ranks; the first one's folder holds all of them.
        PreparedManifest WriteOwn(string partial)
        {
            void PrepareOne(DataFile file)
            {
                var writer = new PieceWriter(partial, file.Index, bytesPerToken, options.PieceBytes);
                prepared[file.Index] = Prepare(file, config, encoder, writer, onWarning, cancel);
                onFile?.Invoke(prepared[file.Index]);
            }

            ImmutableArray<DataFile> own = options.Group is { } ranks ? [.. files.Where(file => file.Index % ranks.Size == ranks.Rank)] : files;
            EachFile.Run(own, config.Workers, PrepareOne, cancel);
            return manifest with { Files = [.. own.Select(file => prepared[file.Index])] };
        }

        PreparedManifest Join(IProcessGroup group, string partial)
        {
            group.Patience = Timeout.InfiniteTimeSpan; // some files are larger than others
            PreparedManifest[] all = [.. group.AllGather(WriteOwn(group.Broadcast(partial)).ToJson()).Select(PreparedManifest.FromJson)];
            return manifest with { Files = [.. files.Select(file => all[file.Index % group.Size].Files[file.Index / group.Size])] };
        }

        if (!options.Group.IsFirst())
        {
            return Join(options.Group!, "");
        }

        AtomicFolder.Write(folder, partial =>
        {
            manifest = options.Group is { } group ? Join(group, partial) : WriteOwn(partial);
            File.WriteAllText(Path.Combine(partial, PreparedManifest.FileName), manifest.ToJson());
        }, options.Overwrite);
        return manifest;
    }

    static PreparedFile Prepare(DataFile file, DataConfig config, ITextEncoder encoder, PieceWriter writer, Action<string>? onWarning, CancellationToken cancel)
    {
        var counters = new DataCounters();
        using var texts = new LiveTexts(file, LocalFiles.Instance, config, encoder, counters, onWarning, cancel);
        while (texts.Read())
        {
            writer.Add(texts);
        }

        return new PreparedFile(file.Name, file.TextKey, file.Length, counters.Documents, counters.BadRecords, writer.Finish());
    }
}
