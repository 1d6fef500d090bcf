namespace OpenElm.Checkpoints.Gguf;

/// <summary>GGUF's numbers of tensor types ↔ <see cref="DType"/>.</summary>
internal static class GgufTensorTypes
{
    // GgufType: in the tensor's entry; FileType: general.file_type of a file that is mostly of this type.
    static readonly (DType Type, uint Number, uint? FileType)[] Known =
    [
        (DType.F32, 0, 0),
        (DType.F16, 1, 1),
        (DType.Q4_0, 2, 2),
        (DType.Q4_1, 3, 3),
        (DType.Q5_0, 6, 8),
        (DType.Q5_1, 7, 9),
        (DType.Q8_0, 8, 7),
        (DType.Q4_K, 12, 15),
        (DType.Q5_K, 13, 17),
        (DType.Q6_K, 14, 18),
        (DType.I8, 24, null),
        (DType.I32, 26, null),
        (DType.I64, 27, null),
        (DType.F64, 28, null),
        (DType.BF16, 30, 32),
    ];

    static readonly Dictionary<uint, string> Foreign = new()
    {
        [9] = "Q8_1",
        [10] = "Q2_K",
        [11] = "Q3_K",
        [15] = "Q8_K",
        [16] = "IQ2_XXS",
        [17] = "IQ2_XS",
        [18] = "IQ3_XXS",
        [19] = "IQ1_S",
        [20] = "IQ4_NL",
        [21] = "IQ3_S",
        [22] = "IQ2_S",
        [23] = "IQ4_XS",
        [25] = "I16",
        [29] = "IQ1_M",
        [34] = "TQ1_0",
        [35] = "TQ2_0",
        [39] = "MXFP4",
    };

    /// <summary>Whether a type of ours can stand in a GGUF file as weights.</summary>
    public static bool CanWrite(DType type) => Known.Any(known => known.Type == type && known.FileType is not null);

    /// <summary>The types that can be written, for messages.</summary>
    public static string Writable => string.Join(", ", Known.Where(known => known.FileType is not null).Select(known => known.Type));

    public static uint NumberOf(DType type) => Known.First(known => known.Type == type).Number;

    public static uint FileTypeOf(DType type) => Known.First(known => known.Type == type).FileType!.Value;

    public static DType? TypeOf(uint number)
    {
        foreach ((DType type, uint known, _) in Known)
        {
            if (known == number)
            {
                return type;
            }
        }

        return null;
    }

    /// <summary>A type's name, for messages about those that are not supported.</summary>
    public static string NameOf(uint number) => Foreign.TryGetValue(number, out string? name) ? name : $"number {number}";
}
