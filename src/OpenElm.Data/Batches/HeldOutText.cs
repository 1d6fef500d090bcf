using System.Collections.Immutable;
using OpenElm.Data.Batches;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>Some of a held-out text, with the lengths that bits per byte and perplexity per word divide by.</summary>
/// <param name="Batch">The sequences; missing rows of the last batch hold the pad id.</param>
/// <param name="Tokens">Targets that are not padding.</param>
/// <param name="Bytes">UTF-8 bytes of the text that these targets spell, after clean-up.</param>
/// <param name="Words">Words of it, separated by white space.</param>
public sealed record HeldOutBatch(TokenBatch Batch, long Tokens, long Bytes, long Words);

/// <summary>
/// Held-out texts once, in the order of the configuration, without shuffle, shards or epochs: what validation scores. Filters and
/// mode are the configuration's; with <see cref="DataMode.Packing"/> every token is scored. Each enumeration reads the files again
/// and gives the same batches.
/// </summary>
public sealed class HeldOutText
{
    readonly DataConfig _config;
    readonly ITextEncoder _encoder;
    readonly int _microBatch;
    readonly Action<string>? _onWarning;
    readonly ImmutableArray<DataFile> _files;

    /// <summary>Names the texts; the files are checked at once.</summary>
    /// <param name="config">What to read and how. Always read as text, so <see cref="DataConfig.PreparedDir"/> must be null.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="microBatch">Sequences of a batch.</param>
    /// <param name="onWarning">Told about every record that is skipped.</param>
    /// <exception cref="OpenElmException">Values that cannot be, or missing files.</exception>
    public HeldOutText(DataConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, int microBatch, Action<string>? onWarning = null)
        : this(config, baseDirectory, new SentencePieceEncoder(tokenizer), microBatch, onWarning)
    {
    }

    internal HeldOutText(DataConfig config, string baseDirectory, ITextEncoder encoder, int microBatch, Action<string>? onWarning = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatch, 1);
        _config = config.Checked();
        if (config.PreparedDir is not null)
        {
            throw new OpenElmException("Held-out text is read from its files, because its bytes are counted; leave prepared_dir out of its configuration.");
        }

        (_encoder, _microBatch, _onWarning) = (encoder, microBatch, onWarning);
        _files = DataFile.Expand(config, baseDirectory, LocalFiles.Instance);
    }

    /// <summary>Reads the texts from the first to the last.</summary>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The batches, each with its own lengths, so that a part may be scored too.</returns>
    /// <exception cref="OpenElmException">A file or record cannot be read, or nothing passes the filters.</exception>
    public IEnumerable<HeldOutBatch> Read(CancellationToken cancel = default)
    {
        int length = _config.SequenceLength + 1;
        IEnumerable<ScoredText> texts = ReadTexts(cancel);
        IEnumerable<HeldOutRow> rows = _config.Mode == DataMode.Faithful
            ? HeldOutRow.Faithful(texts, length, _encoder.PadId)
            : HeldOutRow.Packed(texts, length, _encoder.PadId);
        long index = 0;
        foreach (HeldOutRow[] chunk in rows.Chunk(_microBatch))
        {
            int[] tokens = HeldOutRow.Padded(_microBatch * length, _encoder.PadId);
            for (int row = 0; row < chunk.Length; row++)
            {
                chunk[row].Tokens.CopyTo(tokens.AsSpan(row * length));
            }

            yield return new HeldOutBatch(
                TokenBatch.FromRows(tokens, _microBatch, index++, chunk[0].Origin),
                chunk.Sum(row => row.Targets), chunk.Sum(row => row.Bytes), chunk.Sum(row => row.Words));
        }

        if (index == 0)
        {
            throw new OpenElmException($"The held-out text ({_files[0].Path}, …) has nothing to score: no text passes the filters; lower min_tokens_per_text or min_characters_per_text.");
        }
    }

    IEnumerable<ScoredText> ReadTexts(CancellationToken cancel)
    {
        var counters = new DataCounters();
        foreach (DataFile file in _files)
        {
            using var texts = new LiveTexts(file, LocalFiles.Instance, _config, _encoder, counters, _onWarning, cancel);
            while (texts.Read())
            {
                yield return new ScoredText(file, texts.Record, texts.Tokens.ToArray(), texts.Text.ToString(), texts.TokenCount, _encoder);
            }
        }
    }
}
