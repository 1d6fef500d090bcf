using System.Text.Json;

namespace OpenElm.Data;

/// <summary>Where a stream of examples goes on.</summary>
/// <param name="Epoch">Passes over the examples that are done.</param>
/// <param name="Batch">Batches of the present pass that were handed out.</param>
/// <param name="Examples">Fingerprint of the examples.</param>
/// <param name="Settings">What else decides the order: batching, lengths, batch size, shuffle, seed.</param>
public sealed record ExamplePosition(int Epoch, int Batch, string Examples, string Settings) : IDataPosition
{
    /// <inheritdoc/>
    public string ToJson() => JsonSerializer.Serialize(this, DataJson.Default.ExamplePosition);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <param name="json">The JSON text.</param>
    /// <returns>The position.</returns>
    /// <exception cref="OpenElmException">It is not the JSON of a position.</exception>
    public static ExamplePosition FromJson(string json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, DataJson.Default.ExamplePosition) is { Epoch: >= 0, Batch: >= 0 } position
                ? position
                : throw new OpenElmException("The data position is damaged: its epoch or batch cannot be; resume from another checkpoint.");
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"The data position cannot be read ({e.Message.TrimEnd('.')}); resume from another checkpoint.", e);
        }
    }

    /// <summary>Refuses a position of another stream.</summary>
    internal ExamplePosition CheckedAgainst(string examples, string settings) =>
        Examples != examples ? throw new OpenElmException("The data position was saved with other examples (files, template, tokenizer, or what the loss looks at), so the batches would not be the same; resume with what the run began with, or start a new run.")
        : Settings != settings ? throw new OpenElmException($"The data position was saved with other settings ({Settings}; now {settings}), so the batches would not be the same; resume with what the run began with, or start a new run.")
        : this;
}
