using System.Runtime.InteropServices;

namespace OpenElm.Inference.Tiles;

/// <summary>How the rows that are multiplied with a matrix lie in memory.</summary>
internal enum ActivationForm
{
    /// <summary>Floats.</summary>
    F32,

    /// <summary>bfloat16, rounded to the nearest; an odd last column is followed by 0.</summary>
    BF16,

    /// <summary>An <see cref="ActivationBlock"/> for every 32 columns.</summary>
    Int8,
}

/// <summary>32 activations in 8 bits with what the integer kernels need beside them. x ≈ Scale · q.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ActivationBlock
{
    /// <summary>Signed, −127 … 127: round-to-even(x · (127 / largest |x|)).</summary>
    public fixed sbyte Q[32];

    /// <summary>largest |x| / 127, or 0 where all are 0.</summary>
    public float Scale;

    /// <summary>Scale · Σ q: multiplies a block's minimum.</summary>
    public float ScaledSum;

    /// <summary>−zero point · Σ q of all 32; for <see cref="TileFormat.Int6K"/> of the first 16. The integer sum begins with it.</summary>
    public int Start;

    /// <summary>−zero point · Σ q of the last 16; only for <see cref="TileFormat.Int6K"/>.</summary>
    public int SecondStart;
}

/// <summary>Rows of activations in the form a kernel wants.</summary>
/// <param name="Form">The form.</param>
/// <param name="Address">The first row, aligned to 64 bytes.</param>
/// <param name="Stride">Bytes from one row to the next, an odd multiple of 64, so that many rows do not compete for the same few sets of the cache.</param>
internal readonly unsafe record struct ActivationRows(ActivationForm Form, nint Address, long Stride)
{
    /// <summary>The first byte of a row.</summary>
    /// <param name="row">From 0.</param>
    /// <returns>Its address.</returns>
    public byte* Row(int row) => (byte*)Address + (row * Stride);

    /// <summary>Bytes from one row to the next.</summary>
    /// <param name="form">The form.</param>
    /// <param name="columns">Columns.</param>
    /// <returns>The stride.</returns>
    public static long StrideOf(ActivationForm form, int columns)
    {
        long bytes = form switch
        {
            ActivationForm.F32 => columns * 4L,
            ActivationForm.BF16 => (columns + 1) / 2 * 4L,
            _ => (columns + 31) / 32 * (long)sizeof(ActivationBlock),
        };
        return ((bytes + 63) / 64 * 64) | 64;
    }
}
