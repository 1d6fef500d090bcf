using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>Reads a corpus once, in both modes, and reports what it holds and what becomes of it.</summary>
public static class DataInspection
{
    /// <summary>Reads all files, <see cref="DataConfig.Workers"/> at a time.</summary>
    /// <param name="config">The files, filters and lengths; its mode is used for the samples.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="samples">Sequences to spell out.</param>
    /// <param name="onFile">Told the name of every finished file; called from several threads.</param>
    /// <param name="onWarning">Told about every record that is skipped; called from several threads.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The report.</returns>
    /// <exception cref="OpenElmException">Values that cannot be, or a file that cannot be read.</exception>
    public static DataReport Run(DataConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, int samples = 3,
        Action<string>? onFile = null, Action<string>? onWarning = null, CancellationToken cancel = default) =>
        Run(config, baseDirectory, new SentencePieceEncoder(tokenizer), samples, onFile, onWarning, cancel);

    internal static DataReport Run(DataConfig config, string baseDirectory, ITextEncoder encoder, int samples = 3,
        Action<string>? onFile = null, Action<string>? onWarning = null, CancellationToken cancel = default)
    {
        config = config.Checked() with { PreparedDir = null }; // the texts themselves are looked at
        ImmutableArray<DataFile> files = DataFile.Expand(config, baseDirectory, LocalFiles.Instance);
        var faithful = new DataStatistics[files.Length];
        var packing = new DataStatistics[files.Length];
        EachFile.Run(files, config.Workers, file =>
        {
            faithful[file.Index] = Count(file, config with { Mode = DataMode.Faithful }, encoder, onWarning, cancel);
            packing[file.Index] = Count(file, config with { Mode = DataMode.Packing }, encoder, null, cancel);
            onFile?.Invoke(file.Name);
        }, cancel);

        DataStatistics one = faithful.Aggregate((a, b) => a.Plus(b));
        DataStatistics other = packing.Aggregate((a, b) => a.Plus(b));
        long sequences = one.Texts - one.TextsTooShort - one.TextsTooFewTokens;
        return new DataReport(
            Sources(config, files, packing),
            [Report(DataMode.Faithful, sequences, one), Report(DataMode.Packing, Math.Max(0, other.TokensKept - 1) / config.SequenceLength, other)],
            Samples(config, baseDirectory, encoder, samples, cancel));
    }

    static DataStatistics Count(DataFile file, DataConfig config, ITextEncoder encoder, Action<string>? onWarning, CancellationToken cancel)
    {
        var counters = new DataCounters();
        using var texts = new LiveTexts(file, LocalFiles.Instance, config, encoder, counters, onWarning, cancel, countDropped: true);
        int row = config.SequenceLength + 1;
        while (texts.Read())
        {
            int kept = texts.Tokens.Length;
            counters.TokensKept += kept;
            counters.TokensDropped += texts.TokenCount - kept;
            counters.TokensPadded += config.Mode == DataMode.Faithful ? row - kept : 0;
        }

        return counters.Drain();
    }

    static ImmutableArray<SourceReport> Sources(DataConfig config, ImmutableArray<DataFile> files, DataStatistics[] counted)
    {
        var reports = ImmutableArray.CreateBuilder<SourceReport>();
        int first = 0;
        foreach (DataSource source in config.Sources)
        {
            int count = FilePattern.Expand(source).Count();
            DataStatistics sum = counted.Skip(first).Take(count).Aggregate((a, b) => a.Plus(b));
            reports.Add(new SourceReport(source.FileName, count, files.Skip(first).Take(count).Sum(file => file.Length),
                sum.Documents, sum.Characters, sum.TokensKept + sum.TokensDropped, sum.BadRecords));
            first += count;
        }

        return reports.ToImmutable();
    }

    static ModeReport Report(DataMode mode, long sequences, DataStatistics counted) => new(mode, sequences, counted.Texts,
        counted.TextsTooShort, counted.TextsTooFewTokens, counted.TokensKept, counted.TokensDropped, counted.TokensPadded);

    static ImmutableArray<SampleSequence> Samples(DataConfig config, string baseDirectory, ITextEncoder encoder, int count, CancellationToken cancel)
    {
        if (count == 0)
        {
            return [];
        }

        var samples = ImmutableArray.CreateBuilder<SampleSequence>();
        using var stream = new BatchStream(config with { Workers = 1, PrefetchBatches = 1 }, baseDirectory, encoder, microBatch: 1);
        for (int i = 0; i < count; i++)
        {
            TokenBatch batch = stream.Next(cancel);
            int[] tokens = [.. batch.Inputs.Where(token => token != encoder.PadId)];
            samples.Add(new SampleSequence(batch.Origin, tokens.Length, encoder.Decode(tokens)));
        }

        return samples.ToImmutable();
    }
}
