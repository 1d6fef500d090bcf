using OpenElm.Data.Files;
using OpenElm.Data.Sharding;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Batches;

/// <summary>What all shards of a stream share; immutable, so workers need no lock.</summary>
/// <param name="Config">The configuration, checked.</param>
/// <param name="Shards">Who reads which file.</param>
/// <param name="PadId">Fills short sequences.</param>
/// <param name="Open">Opens a file at a record, passing over some of its texts.</param>
internal sealed record DataContext(DataConfig Config, ShardFiles Shards, int PadId, OpenTexts Open);

/// <summary>Opens a file's texts at text <paramref name="group"/> of a record.</summary>
internal delegate FileTexts OpenTexts(DataFile file, DataCounters counters, long record, int group, CancellationToken cancel);
