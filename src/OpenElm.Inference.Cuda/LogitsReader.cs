using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>Brings logits to the host: through page-locked memory, to which the device copies at the full rate, where they are a few rows.</summary>
/// <param name="vocab">Logits of a row.</param>
internal sealed class LogitsReader(int vocab) : IDisposable
{
    const int MostRows = 16;

    readonly MappedMemory<float> _landing = new(MostRows * vocab);

    /// <summary>Copies rows and waits for them, and for everything before them in the stream.</summary>
    /// <param name="source">On the device: [rows, vocab].</param>
    /// <param name="logits">[rows, vocab].</param>
    /// <param name="stream">The stream.</param>
    public void Read(nint source, Span<float> logits, nint stream)
    {
        if (logits.Length > MostRows * vocab)
        {
            DeviceMemory.CopyBack(source, logits, stream);
            return;
        }

        Span<float> landed = _landing.Values[..logits.Length];
        DeviceMemory.CopyBack(source, landed, stream);
        landed.CopyTo(logits);
    }

    public void Dispose() => _landing.Dispose();
}
