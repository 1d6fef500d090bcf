using OpenElm.Configuration;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>Cosines and sines of RoPE in single precision: row p, column k holds the angle p · base^(−2k/headDim).</summary>
/// <remarks>Element k of a head pairs with element k + headDim/2. Angles are rounded to single precision as the reference rounds them.</remarks>
internal sealed class RopeTable : IDisposable
{
    readonly double _base;
    readonly int _headDim;
    readonly Device _device;

    public RopeTable(OpenElmConfig config, Device device)
    {
        (_base, _headDim, _device) = (config.RopeFreqConstant, config.HeadDim, device);
        Grow(config.MaxContextLength);
    }

    /// <summary>[Positions, headDim / 2].</summary>
    public Tensor Cos { get; private set; } = null!;

    /// <summary>[Positions, headDim / 2].</summary>
    public Tensor Sin { get; private set; } = null!;

    /// <summary>Rows of the table.</summary>
    public int Positions { get; private set; }

    /// <summary>The layout of sequences that hold one record each.</summary>
    /// <param name="seq">Positions of a sequence.</param>
    public SequenceLayout LayoutOf(long seq)
    {
        EnsureLength(seq);
        return new SequenceLayout(Cos, Sin, seq, Segments: default);
    }

    /// <summary>The layout of sequences that hold several records; its tensors belong to the caller's scope.</summary>
    /// <param name="positions">[batch · seq]: the position of each token in its record; 0 begins a record.</param>
    /// <param name="seq">Positions of a sequence.</param>
    public SequenceLayout LayoutOf(int[] positions, int seq)
    {
        EnsureLength(positions.Max() + 1);
        using Tensor rows = tensor(positions, device: _device);
        return new SequenceLayout(Cos.index_select(0, rows), Sin.index_select(0, rows), positions.Length, SequenceLayout.SegmentsOf(positions, seq));
    }

    void EnsureLength(long seq)
    {
        if (seq > Positions)
        {
            Grow(checked((int)Math.Max(seq, 2L * Positions)));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Cos?.Dispose();
        Sin?.Dispose();
    }

    void Grow(int positions)
    {
        TorchLibrary.EnsureLoaded();
        int half = _headDim / 2;
        float[] cos = new float[positions * half], sin = new float[positions * half];
        for (int k = 0; k < half; k++)
        {
            float frequency = 1f / MathF.Pow((float)_base, 2 * k / (float)_headDim);
            for (int p = 0; p < positions; p++)
            {
                (double s, double c) = Math.SinCos(p * frequency);
                (sin[(p * half) + k], cos[(p * half) + k]) = ((float)s, (float)c);
            }
        }

        Dispose();
        Positions = positions;
        Cos = tensor(cos, [positions, half], device: _device).DetachFromDisposeScope();
        Sin = tensor(sin, [positions, half], device: _device).DetachFromDisposeScope();
    }
}
