using System.Collections.Immutable;

namespace OpenElm.Checkpoints;

/// <summary>
/// How the elements of a tensor are stored: plain types in safetensors' names, block formats in GGUF's, and MLX's affine
/// groups. A block holds several neighbouring elements of a row and what they share (scale, minimum).
/// </summary>
public enum DType
{
    /// <summary>8-bit unsigned.</summary>
    U8,

    /// <summary>8-bit signed.</summary>
    I8,

    /// <summary>32-bit signed.</summary>
    I32,

    /// <summary>32-bit unsigned; MLX packs quantised weights in them.</summary>
    U32,

    /// <summary>64-bit signed.</summary>
    I64,

    /// <summary>IEEE half precision.</summary>
    F16,

    /// <summary>The upper half of a float.</summary>
    BF16,

    /// <summary>Single precision.</summary>
    F32,

    /// <summary>Double precision.</summary>
    F64,

    /// <summary>One byte, 0 or 1.</summary>
    BOOL,

    /// <summary>GGUF: 32 elements, half d; w = d · (q − 8), q of 4 bits.</summary>
    Q4_0,

    /// <summary>GGUF: 32 elements, halves d and m; w = d · q + m, q of 4 bits.</summary>
    Q4_1,

    /// <summary>GGUF: 32 elements, half d; w = d · (q − 16), q of 5 bits.</summary>
    Q5_0,

    /// <summary>GGUF: 32 elements, halves d and m; w = d · q + m, q of 5 bits.</summary>
    Q5_1,

    /// <summary>GGUF: 32 elements, half d; w = d · q, q signed, 8 bits.</summary>
    Q8_0,

    /// <summary>GGUF: 256 elements in 8 groups, halves d and dmin; w = d · scale · q − dmin · min, q of 4 bits, scale and min of 6.</summary>
    Q4_K,

    /// <summary>GGUF: as Q4_K, q of 5 bits.</summary>
    Q5_K,

    /// <summary>GGUF: 256 elements in 16 groups, half d; w = d · scale · (q − 32), q of 6 bits, scale signed, 8 bits.</summary>
    Q6_K,

    /// <summary>MLX: 32 elements, floats scale and bias; w = scale · q + bias, q of 4 bits, lowest first.</summary>
    Affine4x32,

    /// <summary>MLX: 64 elements, floats scale and bias; w = scale · q + bias, q of 4 bits, lowest first.</summary>
    Affine4x64,

    /// <summary>MLX: 32 elements, floats scale and bias; w = scale · q + bias, q of 8 bits.</summary>
    Affine8x32,

    /// <summary>MLX: 64 elements, floats scale and bias; w = scale · q + bias, q of 8 bits.</summary>
    Affine8x64,
}

/// <summary>Facts about <see cref="DType"/>.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element of a plain type.</summary>
    /// <param name="dtype">The type; no block format.</param>
    /// <returns>1, 2, 4 or 8.</returns>
    public static int Size(this DType dtype) => dtype.IsBlocked()
        ? throw new ArgumentException($"{dtype} stores blocks; ask for {nameof(BlockBytes)}.", nameof(dtype))
        : dtype.BlockBytes();

    /// <summary>Whether the type stores blocks of several elements.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>False for plain types.</returns>
    public static bool IsBlocked(this DType dtype) => dtype.BlockElements() > 1;

    /// <summary>Elements of one block.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>1 for plain types; rows of a blocked tensor are multiples of it.</returns>
    public static int BlockElements(this DType dtype) => dtype switch
    {
        DType.Q4_0 or DType.Q4_1 or DType.Q5_0 or DType.Q5_1 or DType.Q8_0 or DType.Affine4x32 or DType.Affine8x32 => 32,
        DType.Affine4x64 or DType.Affine8x64 => 64,
        DType.Q4_K or DType.Q5_K or DType.Q6_K => 256,
        _ => 1,
    };

    /// <summary>Bytes of one block, or of one element of a plain type.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>For example 2 for BF16, 34 for Q8_0.</returns>
    public static int BlockBytes(this DType dtype) => dtype switch
    {
        DType.U8 or DType.I8 or DType.BOOL => 1,
        DType.F16 or DType.BF16 => 2,
        DType.I32 or DType.U32 or DType.F32 => 4,
        DType.I64 or DType.F64 => 8,
        DType.Q4_0 => 18,
        DType.Q4_1 => 20,
        DType.Q5_0 => 22,
        DType.Q5_1 => 24,
        DType.Q8_0 => 34,
        DType.Q4_K => 144,
        DType.Q5_K => 176,
        DType.Q6_K => 210,
        DType.Affine4x32 => 8 + 16,
        DType.Affine4x64 => 8 + 32,
        DType.Affine8x32 => 8 + 32,
        DType.Affine8x64 => 8 + 64,
        _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, null),
    };

    /// <summary>Bytes of a tensor.</summary>
    /// <param name="dtype">The type.</param>
    /// <param name="shape">The sizes, outermost first; the innermost is a multiple of the block.</param>
    /// <returns>The bytes.</returns>
    /// <exception cref="ArgumentException">Rows are no whole blocks.</exception>
    /// <exception cref="OverflowException">There are more than fit into 64 bits.</exception>
    public static long ByteCount(this DType dtype, ImmutableArray<long> shape)
    {
        long elements = shape.Aggregate(1L, (product, size) => checked(product * size));
        int block = dtype.BlockElements();
        return block == 1 || (shape is [.., var row] && row % block == 0)
            ? checked(elements / block * dtype.BlockBytes())
            : throw new ArgumentException($"Rows of [{string.Join(", ", shape)}] are no multiples of {dtype}'s {block} elements.", nameof(shape));
    }

    /// <summary>The name in Hugging Face's <c>torch_dtype</c>.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>For example <c>bfloat16</c>.</returns>
    public static string TorchName(this DType dtype) => dtype switch
    {
        DType.F16 => "float16",
        DType.BF16 => "bfloat16",
        DType.F64 => "float64",
        DType.F32 => "float32",
        _ => dtype.ToString().ToLowerInvariant(),
    };
}
