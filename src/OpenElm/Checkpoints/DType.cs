namespace OpenElm.Checkpoints;

/// <summary>Element types of stored tensors, in safetensors' names.</summary>
public enum DType
{
    /// <summary>8-bit unsigned.</summary>
    U8,

    /// <summary>8-bit signed.</summary>
    I8,

    /// <summary>32-bit signed.</summary>
    I32,

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
}

/// <summary>Facts about <see cref="DType"/>.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    /// <param name="dtype">The type.</param>
    /// <returns>1, 2, 4 or 8.</returns>
    public static int Size(this DType dtype) => dtype switch
    {
        DType.U8 or DType.I8 or DType.BOOL => 1,
        DType.F16 or DType.BF16 => 2,
        DType.I32 or DType.F32 => 4,
        _ => 8,
    };

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
