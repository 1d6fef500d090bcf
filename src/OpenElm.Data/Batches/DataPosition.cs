using System.Collections.Immutable;
using System.Text.Json;

namespace OpenElm.Data;

/// <summary>
/// Where a stream of batches goes on: small, exact, and independent of workers and ranks. Shards that a rank did not read stand
/// further back and are caught up on resume; <see cref="Merge"/> saves that work.
/// </summary>
public sealed record DataPosition : IDataPosition
{
    /// <summary>Batches of the global order that were handed out.</summary>
    public required long NextBatch { get; init; }

    /// <summary>What the stream is a function of; a resume under another one is refused.</summary>
    public required DataFingerprint Fingerprint { get; init; }

    /// <summary>One entry for each logical shard.</summary>
    public required ImmutableArray<ShardPosition> Shards { get; init; }

    /// <summary>Joins the positions of all ranks of a run.</summary>
    /// <param name="positions">One for each rank, taken after the same number of batches.</param>
    /// <returns>A position from which any number of ranks can go on without catching up.</returns>
    /// <exception cref="OpenElmException">They belong to different streams or steps.</exception>
    public static DataPosition Merge(IReadOnlyCollection<DataPosition> positions)
    {
        DataPosition first = positions.First();
        foreach (DataPosition other in positions)
        {
            if (other.Fingerprint != first.Fingerprint || other.NextBatch != first.NextBatch)
            {
                throw new OpenElmException("The ranks' data positions do not belong together: they come from different data or steps; resume from a checkpoint that all ranks finished.");
            }
        }

        return first with
        {
            Shards = [.. Enumerable.Range(0, first.Shards.Length).Select(shard => positions.Select(p => p.Shards[shard]).MaxBy(s => s.Batches))],
        };
    }

    /// <summary>Writes the position as JSON.</summary>
    /// <returns>One line.</returns>
    public string ToJson() => JsonSerializer.Serialize(this, DataJson.Default.DataPosition);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <param name="json">The JSON text.</param>
    /// <returns>The position.</returns>
    /// <exception cref="OpenElmException">It is not the JSON of a position.</exception>
    public static DataPosition FromJson(string json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, DataJson.Default.DataPosition)
                ?? throw new OpenElmException("The data position is empty; resume from another checkpoint.");
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"The data position cannot be read ({e.Message.TrimEnd('.')}); resume from another checkpoint.", e);
        }
    }

    /// <summary>Refuses a position of another stream.</summary>
    internal DataPosition CheckedAgainst(DataFingerprint fingerprint, int shards)
    {
        if (Fingerprint.DifferenceTo(fingerprint) is { } difference)
        {
            throw new OpenElmException($"The data position was saved with {difference}, so the batches would not be the same; resume with what the run began with, or start a new run.");
        }

        return Shards.Length == shards && NextBatch >= 0
            ? this
            : throw new OpenElmException("The data position is damaged: its shards or batch number cannot be; resume from another checkpoint.");
    }
}
