using OpenElm.Checkpoints.Gguf;
using OpenElm.Checkpoints.Mlx;

namespace OpenElm.Checkpoints;

/// <summary>Writes models in the formats that can be written: Hugging Face's folder, GGUF, and the folders of Apple's MLX example and of mlx-lm.</summary>
public static class CheckpointWriter
{
    /// <summary>Guesses a format from the name of what is to be written.</summary>
    /// <param name="path">The file or folder.</param>
    /// <returns>GGUF for a name that ends in <c>.gguf</c>, else Hugging Face's folder.</returns>
    public static CheckpointFormat FormatOf(string path) =>
        Path.GetExtension(path).Equals(".gguf", StringComparison.OrdinalIgnoreCase) ? CheckpointFormat.Gguf : CheckpointFormat.HuggingFace;

    /// <summary>The content of a checkpoint as a format can hold it; keep the checkpoint open until the content is written.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="format">The format to write.</param>
    /// <param name="dtype">The type of the weights: of all for a plain type, else of the matrices that the format's own programs quantise. Null keeps
    /// each weight's own type, or takes F32 where the format does not have it.</param>
    /// <returns>What to write.</returns>
    /// <exception cref="OpenElmException">The format does not have the type, or rows of a weight are no whole blocks of it.</exception>
    public static ModelContent Content(Checkpoint source, CheckpointFormat format, DType? dtype)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (dtype is not { } wanted)
        {
            return ModelConversion.Content(source, weight => ModelConversion.TypeOf(weight) is var own && Has(format, own) ? own : DType.F32);
        }

        if (!Has(format, wanted))
        {
            throw new OpenElmException($"{Name(format)} does not have the type {wanted}; choose another type, or another format (--to).");
        }

        if (!wanted.IsBlocked())
        {
            // GGUF's norms are F32; they are taken from the source as they are, not rounded first.
            return ModelConversion.Content(source, weight => format == CheckpointFormat.Gguf && weight.Shape.Length == 1 ? DType.F32 : wanted);
        }

        // Beside affine groups everything is of 16 bits, bfloat16 unless the model is float16 already: OpenELM-3B overflows in float16.
        DType rest = !wanted.IsAffine() ? DType.F32
            : source.Weights.Values.All(weight => ModelConversion.TypeOf(weight) is DType.F16 || ModelConversion.TypeOf(weight).IsAffine()) ? DType.F16
            : DType.BF16;
        return ModelConversion.Content(source, weight => IsQuantised(format, weight) ? wanted : rest);
    }

    /// <summary>Writes a model atomically.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="content">The model.</param>
    /// <param name="format">The format.</param>
    /// <param name="overwrite">Whether what exists is replaced.</param>
    /// <param name="check">Looks at the finished file or folder, under a temporary name, before it takes its place; throws to refuse it.</param>
    /// <exception cref="OpenElmException">The format cannot be written or cannot express the model, or something exists.</exception>
    public static void Write(string path, ModelContent content, CheckpointFormat format, bool overwrite = false, Action<string>? check = null)
    {
        switch (format)
        {
            case CheckpointFormat.HuggingFace:
                ModelFolderWriter.Write(path, content, overwrite, check);
                break;
            case CheckpointFormat.Gguf:
                GgufWriter.Write(path, content, overwrite, check);
                break;
            case CheckpointFormat.Mlx:
                MlxFolderWriter.Write(path, content, MlxLayout.Apple, overwrite, check);
                break;
            case CheckpointFormat.MlxLm:
                MlxFolderWriter.Write(path, content, MlxLayout.MlxLm, overwrite, check);
                break;
            default:
                throw new OpenElmException($"{Name(format)} can be read, not written; choose hf, gguf, mlx or mlx-lm.");
        }
    }

    static bool Has(CheckpointFormat format, DType dtype) => format switch
    {
        CheckpointFormat.Gguf => GgufTensorTypes.CanWrite(dtype),
        CheckpointFormat.Mlx or CheckpointFormat.MlxLm => dtype is DType.F32 or DType.BF16 or DType.F16 || dtype.IsAffine(),
        _ => dtype is DType.F32 or DType.BF16 or DType.F16,
    };

    static bool IsQuantised(CheckpointFormat format, StoredWeight weight) => format switch
    {
        CheckpointFormat.Mlx => MlxFolderWriter.Quantises(MlxLayout.Apple, weight.Name),
        CheckpointFormat.MlxLm => MlxFolderWriter.Quantises(MlxLayout.MlxLm, weight.Name),
        _ => weight.Shape.Length > 1,
    };

    static string Name(CheckpointFormat format) => format switch
    {
        CheckpointFormat.HuggingFace => "A Hugging Face folder",
        CheckpointFormat.MlxLm => "An mlx-lm folder",
        CheckpointFormat.Mlx => "An MLX folder",
        CheckpointFormat.CoreNet => "A CoreNet checkpoint",
        CheckpointFormat.Gguf => "A GGUF file",
        _ => "A llama2.c checkpoint",
    };
}
