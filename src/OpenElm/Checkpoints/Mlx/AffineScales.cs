using System.Buffers.Binary;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>Affine groups whose scales and biases are numbers of a 16-bit type: these are rounded first, then the levels are chosen again.</summary>
internal static class AffineScales
{
    /// <summary>Rounds the scales of quantised blocks.</summary>
    /// <param name="values">What was quantised.</param>
    /// <param name="blocks">Its blocks; changed in place.</param>
    /// <param name="dtype">An affine type.</param>
    /// <param name="scaleType">F16, BF16, or F32, which changes nothing.</param>
    public static void Round(ReadOnlySpan<float> values, Span<byte> blocks, DType dtype, DType scaleType)
    {
        if (scaleType == DType.F32)
        {
            return;
        }

        int bits = AffineGroups.Bits(dtype), highest = (1 << bits) - 1;
        for (; !blocks.IsEmpty; blocks = blocks[dtype.BlockBytes()..], values = values[dtype.BlockElements()..])
        {
            float scale = BinaryPrimitives.ReadSingleLittleEndian(blocks), bias = BinaryPrimitives.ReadSingleLittleEndian(blocks[sizeof(float)..]);
            float roundedScale = Rounded(scale, scaleType), roundedBias = Rounded(bias, scaleType);
            if (roundedScale == scale && roundedBias == bias)
            {
                continue;
            }

            BinaryPrimitives.WriteSingleLittleEndian(blocks, roundedScale);
            BinaryPrimitives.WriteSingleLittleEndian(blocks[sizeof(float)..], roundedBias);
            Span<byte> levels = blocks[AffineGroups.HeadBytes..dtype.BlockBytes()];
            levels.Clear();
            for (int i = 0; i < dtype.BlockElements(); i++)
            {
                int level = roundedScale == 0 ? 0 : (int)Math.Clamp(MathF.Round((values[i] - roundedBias) / roundedScale), 0, highest);
                levels[i * bits / 8] |= (byte)(level << (i * bits % 8));
            }
        }
    }

    static float Rounded(float value, DType type) => type switch
    {
        DType.F16 => (float)(Half)value,
        DType.BF16 => BitConverter.UInt32BitsToSingle((uint)FloatEncoding.ToBFloat16(value) << 16),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Scales are F16, BF16 or F32."),
    };
}
