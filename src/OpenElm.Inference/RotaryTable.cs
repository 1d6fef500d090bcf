namespace OpenElm.Inference;

/// <summary>cos and sin of position · base^(−2k/headDim), in float32 as the reference computes them.</summary>
internal sealed class RotaryTable
{
    readonly int _half;
    readonly float[] _cos, _sin;

    /// <summary>Computes the table.</summary>
    /// <param name="headDim">Width of a head; pairs are (k, k + headDim/2).</param>
    /// <param name="freqConstant">The base.</param>
    /// <param name="positions">The longest sequence.</param>
    public RotaryTable(int headDim, double freqConstant, int positions)
    {
        _half = headDim / 2;
        _cos = new float[checked(positions * _half)];
        _sin = new float[_cos.Length];
        for (int k = 0; k < _half; k++)
        {
            float inverse = 1 / MathF.Pow((float)freqConstant, 2f * k / headDim);
            for (int position = 0; position < positions; position++)
            {
                (_sin[(position * _half) + k], _cos[(position * _half) + k]) = MathF.SinCos(position * inverse);
            }
        }
    }

    /// <summary>Cosines of a position.</summary>
    /// <param name="position">From 0.</param>
    /// <returns>[headDim / 2].</returns>
    public ReadOnlySpan<float> Cos(int position) => _cos.AsSpan(position * _half, _half);

    /// <summary>Sines of a position.</summary>
    /// <param name="position">From 0.</param>
    /// <returns>[headDim / 2].</returns>
    public ReadOnlySpan<float> Sin(int position) => _sin.AsSpan(position * _half, _half);
}
