using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>Bits of integer tensors.</summary>
internal static class TensorBits
{
    /// <summary>value &gt;&gt; bits, element by element.</summary>
    /// <param name="value">Integers of any size, on any device: a number without dimensions may come from the CPU.</param>
    /// <param name="bits">How far.</param>
    /// <returns>A tensor of the same shape and type.</returns>
    public static Tensor ShiftRight(this Tensor value, int bits) => value.bitwise_right_shift(tensor(bits, value.dtype));
}
