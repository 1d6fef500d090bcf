using System.Buffers.Binary;
using OpenElm.Checkpoints;
using OpenElm.Quantization;

namespace OpenElm.Inference.Cuda;

/// <summary>How a matrix is kept on the device, as <c>device.cu</c> numbers it.</summary>
internal enum PackedFormat
{
    /// <summary>Row after row, in the precision of the model.</summary>
    Plain = 0,

    /// <summary>Four bits, with a scale and what is subtracted for each 32.</summary>
    Nibbles = 4,

    /// <summary>Eight bits, with a scale for each 32.</summary>
    Bytes = 8,
}

/// <summary>A matrix on the device.</summary>
/// <param name="Address">The first row.</param>
/// <param name="Format">How it is kept.</param>
/// <param name="Columns">Of a piece of a packed row.</param>
internal readonly record struct DeviceMatrix(nint Address, PackedFormat Format, int Columns);

/// <summary>Blocks of GGUF files as the kernels read them: numbers, scales and minimums of a piece of a row apart, in the order of the warps that multiply them.</summary>
internal static class PackedRows
{
    /// <summary>Rows are pieces of multiples of this.</summary>
    public const int Multiple = 256;

    const int Block = 32, Warps = Multiple / Block;

    /// <summary>The format that holds a weight as it is stored.</summary>
    /// <param name="weight">The weight.</param>
    /// <returns>Plain where the weight is no matrix of blocks that the kernels know.</returns>
    public static PackedFormat FormatOf(StoredWeight weight) =>
        weight.Shape is not [_, long columns] || columns % Multiple != 0 ? PackedFormat.Plain
        : weight.Parts.All(part => part.DType == DType.Q8_0) ? PackedFormat.Bytes
        : weight.Parts.All(part => part.DType is DType.Q4_0 or DType.Q4_1 or DType.Q4_K) ? PackedFormat.Nibbles
        : PackedFormat.Plain;

    /// <summary>The size of packed numbers.</summary>
    /// <param name="format">Packed.</param>
    /// <param name="numbers">A multiple of 32.</param>
    /// <returns>Bytes.</returns>
    public static long Bytes(PackedFormat format, long numbers) => format == PackedFormat.Bytes ? numbers / 16 * 17 : numbers / 8 * 5;

    /// <summary>Packs a row.</summary>
    /// <param name="dtype">How it is stored.</param>
    /// <param name="source">Its blocks.</param>
    /// <param name="columns">Of a piece.</param>
    /// <param name="target">Packed.</param>
    public static void Pack(DType dtype, ReadOnlySpan<byte> source, int columns, Span<byte> target)
    {
        int width = source.Length / dtype.BlockBytes() * dtype.BlockElements();
        for (int first = 0; first < width; first += columns)
        {
            int count = Math.Min(columns, width - first);
            for (int block = 0; block < count / Block; block++)
            {
                PackBlock(dtype, source, (first / Block) + block, PlaceOf(block, count), count, target);
            }

            target = target[(int)Bytes(dtype == DType.Q8_0 ? PackedFormat.Bytes : PackedFormat.Nibbles, count)..];
        }
    }

    /// <summary>Where a block of 32 lies in a piece: what a warp of eight multiplies, every eighth block, lies together.</summary>
    /// <param name="block">Of the piece.</param>
    /// <param name="count">Numbers of the piece.</param>
    /// <returns>Its place.</returns>
    public static int PlaceOf(int block, int count) => (block % Warps * (count / Multiple)) + (block / Warps);

    static void PackBlock(DType dtype, ReadOnlySpan<byte> source, int from, int block, int count, Span<byte> target)
    {
        ReadOnlySpan<byte> own = source[(from * dtype.BlockBytes() * Block / dtype.BlockElements())..];
        switch (dtype)
        {
            case DType.Q8_0:
                own[2..34].CopyTo(target[(block * 32)..]);
                own[..2].CopyTo(target[(count + (2 * block))..]);
                return;
            case DType.Q4_0: // scale · (number − 8)
                own[2..18].CopyTo(target[(block * 16)..]);
                Scales((float)BinaryPrimitives.ReadHalfLittleEndian(own), 8 * (float)BinaryPrimitives.ReadHalfLittleEndian(own), target);
                return;
            case DType.Q4_1: // scale · number + least
                own[4..20].CopyTo(target[(block * 16)..]);
                Scales((float)BinaryPrimitives.ReadHalfLittleEndian(own), -(float)BinaryPrimitives.ReadHalfLittleEndian(own[2..]), target);
                return;
            default: // Q4_K: eight blocks, whose pairs share bytes
                ReadOnlySpan<byte> all = source[(from / 8 * DType.Q4_K.BlockBytes())..];
                Span<byte> scales = stackalloc byte[8], least = stackalloc byte[8];
                KScales.Unpack(all[4..16], scales, least);
                int which = from % 8;
                ReadOnlySpan<byte> pair = all.Slice(16 + (which / 2 * 32), 32);
                for (int i = 0; i < 16; i++)
                {
                    int low = (which % 2 == 0 ? pair[i] : pair[i] >> 4) & 15, high = (which % 2 == 0 ? pair[i + 16] : pair[i + 16] >> 4) & 15;
                    target[(block * 16) + i] = (byte)(low | (high << 4));
                }

                Scales((float)BinaryPrimitives.ReadHalfLittleEndian(all) * scales[which], (float)BinaryPrimitives.ReadHalfLittleEndian(all[2..]) * least[which], target);
                return;
        }

        void Scales(float scale, float less, Span<byte> piece)
        {
            BinaryPrimitives.WriteHalfLittleEndian(piece[((count / 2) + (4 * block))..], (Half)scale);
            BinaryPrimitives.WriteHalfLittleEndian(piece[((count / 2) + (4 * block) + 2)..], (Half)less);
        }
    }
}
