using OpenElm.Checkpoints;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Matrices;

/// <summary>
/// GGUF's blocks into numbers in libtorch's operators, for devices without kernels of ours: the formulas and layouts of <see cref="Quantization.BlockFormats"/>
/// (docs/quantization.md), bit for bit.
/// </summary>
internal static class BlockOperators
{
    /// <summary>Reads blocks.</summary>
    /// <param name="format">A block format of GGUF.</param>
    /// <param name="rows">[rows, bytes of a row], uint8.</param>
    /// <returns>[rows, columns] in single precision.</returns>
    public static Tensor Dequantize(DType format, Tensor rows)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        Tensor blocks = rows.contiguous().view(-1, format.BlockBytes());                                  // [blocks, bytes]
        Tensor numbers = format switch                                                                    // [blocks, elements]
        {
            DType.Q4_0 => (Nibbles(blocks, 2) - Number(8)) * Half(blocks, 0),
            DType.Q5_0 => (Nibbles(blocks, 6).Plus(FifthBits(blocks, 2)) - Number(16)) * Half(blocks, 0),
            DType.Q4_1 => (Nibbles(blocks, 4) * Half(blocks, 0)).Plus(Half(blocks, 2)),
            DType.Q5_1 => (Nibbles(blocks, 8).Plus(FifthBits(blocks, 4)) * Half(blocks, 0)).Plus(Half(blocks, 2)),
            DType.Q8_0 => Signed(blocks, 2, 32) * Half(blocks, 0),
            DType.Q4_K => Groups(blocks, Pairs(blocks, 16)),
            DType.Q5_K => Groups(blocks, Pairs(blocks, 48).Plus(GroupBits(blocks, 16))),
            DType.Q6_K => SixBit(blocks),
            _ => throw new ArgumentOutOfRangeException(nameof(format), format, "This type stores no blocks of GGUF."),
        };
        return numbers.view(rows.size(0), -1).MoveToOuterDisposeScope();
    }

    static Tensor Bytes(Tensor blocks, long at, long count) => blocks.narrow(1, at, count).to_type(ScalarType.Int32);

    static Tensor Signed(Tensor blocks, long at, long count) => blocks.narrow(1, at, count).bitwise_xor(128).to_type(ScalarType.Int32) - Number(128);

    // [blocks, 1].
    static Tensor Half(Tensor blocks, long at) => Dispatcher.AsHalf(blocks.narrow(1, at, 2).contiguous()).to_type(ScalarType.Float32);

    // 16 bytes: element j in the lower half of byte j, element j + 16 in the upper one. [blocks, 32].
    static Tensor Nibbles(Tensor blocks, long at)
    {
        Tensor packed = Bytes(blocks, at, 16);
        return cat([packed & 15, packed.ShiftRight(4)], 1);
    }

    // Bit j of 32: 16 for element j. [blocks, 32].
    static Tensor FifthBits(Tensor blocks, long at) => (Right(Bytes(blocks, at, 4).unsqueeze(-1), Shifts(blocks, 1, 8)) & 1).view(-1, 32) * Number(16);

    // 128 bytes, 32 for each two groups: the even group in the lower halves. [blocks, 8, 32].
    static Tensor Pairs(Tensor blocks, long at)
    {
        Tensor packed = Bytes(blocks, at, 128).view(-1, 4, 1, 32);
        return (Right(packed, Shifts(blocks, 4, 2).view(2, 1)) & 15).view(-1, 8, 32);
    }

    // Bit g of byte i: 16 for element i of group g. [blocks, 8, 32].
    static Tensor GroupBits(Tensor blocks, long at) => (Right(Bytes(blocks, at, 32).unsqueeze(1), Shifts(blocks, 1, 8).view(8, 1)) & 1) * Number(16);

    // d · scale · level − dmin · minimum, with 6-bit scales and minimums as Quantization.KScales packs them. [blocks, 256].
    static Tensor Groups(Tensor blocks, Tensor levels)
    {
        Tensor first = Bytes(blocks, 4, 4), second = Bytes(blocks, 8, 4), third = Bytes(blocks, 12, 4);
        Tensor scales = cat([first & 63, (third & 15) | (first.ShiftRight(6) * Number(16))], 1), minimums = cat([second & 63, third.ShiftRight(4) | (second.ShiftRight(6) * Number(16))], 1);
        return (((Half(blocks, 0) * scales).unsqueeze(-1) * levels) - (Half(blocks, 2) * minimums).unsqueeze(-1)).view(-1, 256);
    }

    // Two halves of 128 elements in quarters of 32: 64 bytes of low bits, of quarters 0 and 1 in the lower halves; 32 bytes of high bits, two for each quarter.
    static Tensor SixBit(Tensor blocks)
    {
        Tensor low = Right(Bytes(blocks, 0, 128).view(-1, 2, 1, 64), Shifts(blocks, 4, 2).view(2, 1)) & 15;   // [blocks, half, lower or upper, 64]
        Tensor high = Right(Bytes(blocks, 128, 64).view(-1, 2, 1, 32), Shifts(blocks, 2, 4).view(4, 1)) & 3;  // [blocks, half, quarter, 32]
        Tensor levels = (low.view(-1, 16, 16) | (high * Number(16)).view(-1, 16, 16)) - Number(32);
        return ((Half(blocks, 208) * Signed(blocks, 192, 16)).unsqueeze(-1) * levels).view(-1, 256);
    }

    static Tensor Right(Tensor packed, Tensor bits) => packed.bitwise_right_shift(bits);

    // 0, step, 2 · step, ….
    static Tensor Shifts(Tensor blocks, long step, long count) => Range(count, ScalarType.Int32, blocks.device) * Number(step);
}
