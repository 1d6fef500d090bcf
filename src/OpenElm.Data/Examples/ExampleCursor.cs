namespace OpenElm.Data.Examples;

/// <summary>Goes through the batches of epoch after epoch, and says where it stands.</summary>
internal sealed class ExampleCursor
{
    readonly ExampleOrder _order;
    readonly string _fingerprint;
    readonly string _settings;
    int[][][] _batches;
    int _epoch;
    int _next;
    long _handedOut;

    /// <summary>Begins.</summary>
    /// <param name="order">The batches of each epoch.</param>
    /// <param name="fingerprint">Fingerprint of the examples.</param>
    /// <param name="settings">What else decides the order, in words.</param>
    /// <param name="start">Where to go on; null begins anew.</param>
    /// <exception cref="OpenElmException">The position belongs to other examples or settings.</exception>
    public ExampleCursor(ExampleOrder order, string fingerprint, string settings, ExamplePosition? start)
    {
        (_order, _fingerprint, _settings) = (order, fingerprint, settings);
        start?.CheckedAgainst(fingerprint, settings);
        (_epoch, _next) = (start?.Epoch ?? 0, start?.Batch ?? 0);
        _batches = order.Batches(_epoch);
    }

    /// <summary>Where the next batch begins.</summary>
    public ExamplePosition Position => new(_epoch, _next, _fingerprint, _settings);

    /// <summary>Counts the batches of some epochs.</summary>
    /// <param name="epochs">How many, from the first.</param>
    public int BatchesOf(int epochs) => Enumerable.Range(0, epochs).Sum(epoch => _order.Batches(epoch).Length);

    /// <summary>The next batch.</summary>
    /// <returns>Its rows of examples by number, and how many batches this cursor gave before.</returns>
    public (int[][] Rows, long Index) Next()
    {
        if (_next == _batches.Length)
        {
            (_epoch, _next) = (_epoch + 1, 0);
            _batches = _order.Batches(_epoch);
        }

        return (_batches[_next++], _handedOut++);
    }
}
