using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>
/// Brings logits to the host: a few rows through page-locked memory, to which the device copies at the full rate, while passes behind them go on.
/// </summary>
/// <param name="vocab">Logits of a row.</param>
internal sealed class LogitsReader(int vocab) : IDisposable
{
    const int MostRows = 16;

    readonly MappedMemory<float> _landing = new(MostRows * vocab);
    int _asked, _delivered; // rows that are on their way, and behind those that the caller has

    /// <summary>Asks for the next rows of a call.</summary>
    /// <param name="source">On the device: [rows, vocab]; may be overwritten by what is put into the stream from now on.</param>
    /// <param name="rows">How many.</param>
    /// <param name="logits">All rows of the call: [rows, vocab].</param>
    /// <param name="stream">The stream.</param>
    public void Ask(nint source, int rows, Span<float> logits, nint stream)
    {
        if (_asked + rows > MostRows)
        {
            Deliver(logits, stream);
        }

        if (rows > MostRows)
        {
            DeviceMemory.CopyBack(source, logits.Slice(_delivered * vocab, rows * vocab), stream);
            _delivered += rows;
            return;
        }

        DeviceMemory.CopyBackLater(source, _landing.Values.Slice(_asked * vocab, rows * vocab), stream);
        _asked += rows;
    }

    /// <summary>Waits for the rows of a call that are missing, and for everything before them in the stream.</summary>
    /// <param name="logits">All rows of the call: [rows, vocab].</param>
    /// <param name="stream">The stream.</param>
    public void Finish(Span<float> logits, nint stream)
    {
        Deliver(logits, stream);
        _delivered = 0;
    }

    public void Dispose() => _landing.Dispose();

    void Deliver(Span<float> logits, nint stream)
    {
        if (_asked == 0)
        {
            return;
        }

        CudaDevice.Synchronize(stream);
        _landing.Values[..(_asked * vocab)].CopyTo(logits[(_delivered * vocab)..]);
        (_asked, _delivered) = (0, _delivered + _asked);
    }
}
