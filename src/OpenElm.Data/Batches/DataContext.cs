using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Sharding;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Batches;

/// <summary>What all shards of a stream share; immutable, so workers need no lock.</summary>
/// <param name="Config">The configuration, checked.</param>
/// <param name="Files">The expanded list.</param>
/// <param name="Shards">Who reads which file.</param>
/// <param name="Encoder">The tokenizer.</param>
/// <param name="OnWarning">Told about records that are skipped.</param>
/// <param name="Open">Opens a file at a record, passing over some of its texts.</param>
internal sealed record DataContext(
    DataConfig Config, ImmutableArray<DataFile> Files, ShardFiles Shards, ITextEncoder Encoder, Action<string>? OnWarning, OpenTexts Open);

/// <summary>Opens a file's texts at text <paramref name="group"/> of a record.</summary>
internal delegate FileTexts OpenTexts(DataFile file, DataCounters counters, long record, int group);
