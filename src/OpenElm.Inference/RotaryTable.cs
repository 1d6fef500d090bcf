namespace OpenElm.Inference;

/// <summary>
/// cos and sin of position · base^(−2k/headDim), in float32 as the reference computes them. The table grows with the sequences: a model's limit
/// says little about what is used, and may be any number. Growing and reading may happen at once.
/// </summary>
/// <param name="headDim">Width of a head; pairs are (k, k + headDim/2).</param>
/// <param name="freqConstant">The base.</param>
internal sealed class RotaryTable(int headDim, double freqConstant)
{
    const int BlockLength = 256;

    readonly Lock _growing = new();
    readonly int _half = headDim / 2;
    volatile float[][] _blocks = []; // each [BlockLength][cos, then sin]

    /// <summary>Computes what is missing.</summary>
    /// <param name="positions">The longest sequence.</param>
    public void Reserve(int positions)
    {
        lock (_growing)
        {
            float[][] blocks = _blocks;
            int needed = (int)(((long)positions + BlockLength - 1) / BlockLength);
            if (needed > blocks.Length)
            {
                _blocks = [.. blocks, .. Enumerable.Range(blocks.Length, needed - blocks.Length).Select(Block)];
            }
        }
    }

    /// <summary>Cosines of a position.</summary>
    /// <param name="position">From 0, within what is reserved.</param>
    /// <returns>[headDim / 2].</returns>
    public ReadOnlySpan<float> Cos(int position) => Half(position, 0);

    /// <summary>Sines of a position.</summary>
    /// <param name="position">From 0, within what is reserved.</param>
    /// <returns>[headDim / 2].</returns>
    public ReadOnlySpan<float> Sin(int position) => Half(position, 1);

    ReadOnlySpan<float> Half(int position, int half) =>
        _blocks[position / BlockLength].AsSpan(((2 * (position % BlockLength)) + half) * _half, _half);

    float[] Block(int index)
    {
        float[] block = new float[BlockLength * 2 * _half];
        for (int k = 0; k < _half; k++)
        {
            float inverse = 1 / MathF.Pow((float)freqConstant, 2f * k / headDim);
            for (int i = 0; i < BlockLength; i++)
            {
                (block[(2 * i * _half) + _half + k], block[(2 * i * _half) + k]) = MathF.SinCos(((index * BlockLength) + i) * inverse);
            }
        }

        return block;
    }
}
