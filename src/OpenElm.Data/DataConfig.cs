using System.Collections.Immutable;

namespace OpenElm.Data;

/// <summary>
/// Which texts a run reads and how they become batches. The stream of batches is a pure function of the files, this
/// record, the tokenizer, the batch size and a position; <see cref="Workers"/>, <see cref="PrefetchBatches"/>
/// and <see cref="PreparedDir"/> change only how fast it comes.
/// </summary>
public sealed record DataConfig : IValidated
{
    /// <summary>The corpus: its files in this order, once an epoch. There are no mixture weights.</summary>
    public required ImmutableArray<DataSource> Sources { get; init; }

    /// <summary>Tokens that the model sees in one sequence. Default 2048.</summary>
    public int SequenceLength { get; init; } = 2048;

    /// <summary>How texts become sequences. Default: as in the paper.</summary>
    public DataMode Mode { get; init; } = DataMode.Faithful;

    /// <summary>Logical shards (the paper's ranks × workers, 512). Batch b comes from shard b mod shards. Default 1.</summary>
    public int Shards { get; init; } = 1;

    /// <summary>Texts with fewer tokens, BOS and EOS included, are dropped. Default 0; the paper's runs use 256.</summary>
    public int MinTokensPerText { get; init; }

    /// <summary>
    /// Texts with fewer characters, measured without ASCII punctuation and repeated white space, are dropped. Default 0; the
    /// paper's runs use 200.
    /// </summary>
    public int MinCharactersPerText { get; init; }

    /// <summary>
    /// Documents of a chunk in CoreNet's reader. Here a position is exact to the record and readers stream, so it changes nothing;
    /// the key is kept so that the paper's configurations can be written down whole. Default 1024.
    /// </summary>
    public int ReaderChunkSize { get; init; } = 1024;

    /// <summary>Words of one group in <see cref="DataMode.Faithful"/>; <see cref="DataMode.Packing"/> does not split. Default 2048.</summary>
    public int DocumentSplitSize { get; init; } = 2048;

    /// <summary>Shuffles the files before they are dealt to shards, and each shard's files again in every later epoch.</summary>
    public bool ShuffleData { get; init; }

    /// <summary>Seed of all shuffles and draws.</summary>
    public int RandomSeed { get; init; }

    /// <summary>Puts the tokenizer's BOS before every text. Default true.</summary>
    public bool AppendBos { get; init; } = true;

    /// <summary>Puts the tokenizer's EOS after every text. Default true.</summary>
    public bool AppendEos { get; init; } = true;

    /// <summary>Cleans the text up before it is tokenized (entities, quotes, widths, controls, NFC). Default true.</summary>
    public bool CleanUp { get; init; } = true;

    /// <summary>Background threads that make batches; never more than there are shards to read. Default 1.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Batches that each worker keeps ready ahead of the trainer. Default 2.</summary>
    public int PrefetchBatches { get; init; } = 2;

    /// <summary>What happens to records and files that cannot be read. Default: stop.</summary>
    public BadRecordPolicy OnBadRecord { get; init; } = BadRecordPolicy.Fail;

    /// <summary>A folder that <c>openelm data prepare</c> wrote for these files, to read tokens from; null reads the texts.</summary>
    public string? PreparedDir { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        problems.Require(!Sources.IsDefaultOrEmpty, path, "sources", "is empty; name at least one file.");
        AtLeast(1, SequenceLength, "sequence_length");
        AtLeast(1, Shards, "shards");
        AtLeast(0, MinTokensPerText, "min_tokens_per_text");
        AtLeast(0, MinCharactersPerText, "min_characters_per_text");
        AtLeast(1, ReaderChunkSize, "reader_chunk_size");
        AtLeast(1, DocumentSplitSize, "document_split_size");
        AtLeast(1, Workers, "workers");
        AtLeast(1, PrefetchBatches, "prefetch_batches");
        problems.Require(Enum.IsDefined(Mode), path, "mode", $"is {Mode}; it must be faithful or packing.");
        problems.Require(Enum.IsDefined(OnBadRecord), path, "on_bad_record", $"is {OnBadRecord}; it must be fail or skip.");
        problems.Require(PreparedDir is null || !string.IsNullOrWhiteSpace(PreparedDir), path, "prepared_dir", "is blank; name a folder or leave the key out.");

        void AtLeast(int minimum, int value, string key) =>
            problems.Require(value >= minimum, path, key, $"is {value}; it must be at least {minimum}.");
    }

    /// <summary>Refuses a configuration with impossible values, naming all of them; for those that no strict reader has seen.</summary>
    internal DataConfig Checked()
    {
        List<string> problems = [];
        Validate("data", problems);
        for (int i = 0; !Sources.IsDefault && i < Sources.Length; i++)
        {
            Sources[i].Validate($"data.sources.{i}", problems);
        }

        return problems is [] ? this : throw OpenElmException.Of("Invalid data configuration", problems);
    }
}
