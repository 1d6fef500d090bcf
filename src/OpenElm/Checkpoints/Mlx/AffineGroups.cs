using System.Collections.Immutable;
using System.Runtime.InteropServices;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>
/// MLX's quantised matrices are three tensors: <c>X.weight</c>, levels packed into 32-bit numbers, lowest bits first,
/// [rows, columns · bits / 32]; <c>X.scales</c> and <c>X.biases</c>, [rows, columns / group]. Ours are one, group after group.
/// </summary>
internal static class AffineGroups
{
    /// <summary>Bytes of the scale and the bias in front of a group's levels.</summary>
    public const int HeadBytes = 2 * sizeof(float);

    const string Weight = ".weight", Scales = ".scales", Biases = ".biases";

    static readonly DType[] Types = [DType.Affine4x32, DType.Affine4x64, DType.Affine8x32, DType.Affine8x64];

    /// <summary>Bits of a level.</summary>
    public static int Bits(DType dtype) => dtype is DType.Affine4x32 or DType.Affine4x64 ? 4 : 8;

    /// <summary>Whether a type is one of MLX's groups.</summary>
    public static bool IsAffine(this DType dtype) => Types.Contains(dtype);

    /// <summary>The type of some bits and group size, or null if there is none.</summary>
    public static DType? TypeOf(long bits, long group)
    {
        foreach (DType type in Types)
        {
            if (Bits(type) == bits && type.BlockElements() == group)
            {
                return type;
            }
        }

        return null;
    }

    /// <summary>Joins what belongs together; other tensors pass.</summary>
    /// <param name="path">The folder, for messages.</param>
    /// <param name="tensors">Tensors under CoreNet's names.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="owned">Receives the memory of joined matrices.</param>
    /// <returns>Weights.</returns>
    /// <exception cref="OpenElmException">The three do not fit each other, or the format is not supported.</exception>
    public static IEnumerable<StoredWeight> Join(string path, IReadOnlyDictionary<string, TensorView> tensors, OpenElmConfig config, List<IDisposable> owned)
    {
        Dictionary<string, TensorShape> shapes = TensorShapes.Of(config).ToDictionary(shape => shape.Name);
        foreach ((string name, TensorView tensor) in tensors)
        {
            string stem = name.EndsWith(Weight, StringComparison.Ordinal) ? name[..^Weight.Length] : name;
            if (stem != name && tensors.TryGetValue(stem + Scales, out TensorView scales))
            {
                if (!tensors.TryGetValue(stem + Biases, out TensorView biases))
                {
                    throw new OpenElmException($"{path}: {stem} has {Scales} and no {Biases}; only MLX's affine quantisation is supported.");
                }

                yield return shapes.TryGetValue(name, out TensorShape expected) && expected.Shape is [long rows, long columns]
                    ? StoredWeight.Of(name, Join(path, name, rows, columns, tensor, scales, biases, owned))
                    : StoredWeight.Of(name, tensor);
            }
            else if (!IsPartOfQuantised(name, tensors))
            {
                yield return StoredWeight.Of(name, tensor);
            }
        }
    }

    static bool IsPartOfQuantised(string name, IReadOnlyDictionary<string, TensorView> tensors) =>
        new[] { Scales, Biases }.Any(part => name.EndsWith(part, StringComparison.Ordinal) && tensors.ContainsKey(name[..^part.Length] + Weight) && tensors.ContainsKey(name[..^part.Length] + Scales));

    static unsafe TensorView Join(string path, string name, long rows, long columns, TensorView levels, TensorView scales, TensorView biases, List<IDisposable> owned)
    {
        string Shapes() => string.Join(", ", new[] { levels, scales, biases }.Select(tensor => $"{tensor.DType} [{string.Join(", ", tensor.Shape)}]"));
        if (levels.DType != DType.U32 || levels.Shape is not [var levelRows, var words] || scales.Shape is not [var scaleRows, > 0 and var groups] || !biases.Shape.SequenceEqual(scales.Shape)
            || (levelRows, scaleRows) != (rows, rows) || columns % groups != 0 || words * 32 % columns != 0)
        {
            throw new OpenElmException($"{path}: {name}, its scales and its biases are {Shapes()}; together they are no quantised matrix [{rows}, {columns}].");
        }

        (long bits, long group) = (words * 32 / columns, columns / groups);
        DType dtype = TypeOf(bits, group)
            ?? throw new OpenElmException($"{path}: {name} is quantised to {bits} bits in groups of {group}; 4 and 8 bits in groups of 32 and 64 are supported.");
        // The sizes were checked against tensors that lie in the file, so this is at most four times as long as they are.
        var joined = new NativeBytes(dtype.ByteCount([rows, columns]));
        owned.Add(joined);
        int packed = (int)(group * bits / 8);
        float[] scaleRow = new float[groups], biasRow = new float[groups];
        for (long row = 0; row < rows; row++)
        {
            Row(scales, row, scaleRow);
            Row(biases, row, biasRow);
            byte* source = (byte*)levels.Address + (row * words * sizeof(uint));
            for (long g = 0; g < groups; g++)
            {
                Span<byte> block = joined.Slice(((row * groups) + g) * dtype.BlockBytes(), dtype.BlockBytes());
                MemoryMarshal.Write(block, scaleRow[g]);
                MemoryMarshal.Write(block[sizeof(float)..], biasRow[g]);
                new ReadOnlySpan<byte>(source + (g * packed), packed).CopyTo(block[HeadBytes..]);
            }
        }

        return new TensorView(name, dtype, [rows, columns], joined.Address, joined.Length);
    }

    static void Row(TensorView tensor, long row, float[] values)
    {
        int size = tensor.DType.IsBlocked() ? 0 : tensor.DType.Size();
        (tensor with { Shape = [values.Length], Address = tensor.Address + (nint)(row * values.Length * size), ByteCount = (long)values.Length * size }).CopyTo(values);
    }
}
