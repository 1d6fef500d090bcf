namespace OpenElm.Data;

/// <summary>
/// How far one logical shard has been read. The record in progress is read again on resume, so no tokens are kept: those
/// carried over from it are the ones behind <paramref name="Offset"/>.
/// </summary>
/// <param name="Batches">Batches that the shard had given.</param>
/// <param name="Epoch">Passes over the shard's files that were finished.</param>
/// <param name="File">The file in progress, in this epoch's order.</param>
/// <param name="Record">The record in progress.</param>
/// <param name="Offset">What was used of that record: texts in faithful mode, tokens in packing mode.</param>
public readonly record struct ShardPosition(long Batches, long Epoch, int File, long Record, long Offset);
