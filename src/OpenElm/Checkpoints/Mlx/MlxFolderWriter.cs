using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.IO;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>The layouts of MLX programs.</summary>
public enum MlxLayout
{
    /// <summary>Apple's example in CoreNet: its names, <c>weights.safetensors</c>, a <c>config.json</c> that names a built-in architecture.</summary>
    Apple,

    /// <summary>mlx-lm's: Hugging Face's names and keys.</summary>
    MlxLm,
}

/// <summary>
/// Writes folders for MLX (section "MLX" of the checkpoint documentation). Matrices whose content is affine groups
/// (<see cref="DType.Affine4x64"/> and its like) become packed weights, scales and biases; the rest is written as it is.
/// </summary>
/// <remarks>
/// Scales and biases are stored in the type of the norms, in 16 bits as a rule, and must be numbers of that type already, as
/// <see cref="Quantization.BlockFormats"/> makes them: were they rounded afterwards, every level of a group would move.
/// </remarks>
public static class MlxFolderWriter
{
    /// <summary>Writes a folder atomically.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="model">What to write: F32, BF16, F16, and one kind of affine groups.</param>
    /// <param name="layout">For which program.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <param name="check">Looks at the finished folder, under a temporary name, before it takes its place; throws to refuse it.</param>
    /// <exception cref="OpenElmException">The layout cannot express the model, or the folder exists.</exception>
    public static void Write(string path, ModelContent model, MlxLayout layout = MlxLayout.Apple, bool overwrite = false, Action<string>? check = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (!model.Config.FfnWithGlu)
        {
            throw new OpenElmException("MLX folders cannot hold this model: MLX's OpenELM always has a gated feed-forward network; write a Hugging Face folder instead.");
        }

        DType? quantised = Quantised(model);
        DType scaleType = model.Weights.First(weight => weight.Shape.Length == 1).DType;
        string config = layout == MlxLayout.Apple ? MlxConfig.Write(model.Config, quantised) : OpenElmConfigJson.Write(model.Config, scaleType.TorchName(), quantised);
        AtomicFolder.Write(path, folder =>
        {
            AtomicFile.WriteText(Path.Combine(folder, ModelFolder.ConfigFile), config);
            if (model.Tokenizer is { } tokenizer)
            {
                AtomicFile.WriteBytes(Path.Combine(folder, ModelFolder.TokenizerFile), tokenizer);
            }

            IEnumerable<TensorSource> tensors = model.Weights
                .Select(weight => layout == MlxLayout.Apple ? weight : weight with { Name = HuggingFaceNames.FromCoreNet(weight.Name) })
                .SelectMany(weight => weight.DType.IsAffine() ? new AffineParts(weight, scaleType).Split() : [weight]);
            string file = layout == MlxLayout.Apple ? MlxCheckpoint.WeightsFile : ModelFolder.WeightsFile;
            SafetensorsWriter.Write(Path.Combine(folder, file), [.. tensors], new Dictionary<string, string> { ["format"] = "mlx" });
            check?.Invoke(folder);
        }, overwrite);
    }

    /// <summary>Whether a program's own quantiser would quantise a weight: Apple's example only linear layers, mlx-lm the embedding too.</summary>
    /// <param name="layout">The program.</param>
    /// <param name="weight">CoreNet's name of the weight.</param>
    /// <returns>False for norms.</returns>
    public static bool Quantises(MlxLayout layout, string weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        return !weight.EndsWith("norm.weight", StringComparison.Ordinal) && (layout == MlxLayout.MlxLm || weight != TensorNames.Embedding);
    }

    static DType? Quantised(ModelContent model)
    {
        ImmutableArray<DType> affine = [.. model.Weights.Select(weight => weight.DType).Where(dtype => dtype.IsAffine()).Distinct()];
        if (affine.Length > 1)
        {
            throw new OpenElmException($"An MLX folder has one kind of quantisation; this model has {string.Join(" and ", affine)}.");
        }

        if (model.Weights.FirstOrDefault(weight => !weight.DType.IsAffine() && weight.DType is not (DType.F32 or DType.BF16 or DType.F16)) is { } foreign)
        {
            throw new OpenElmException($"{foreign.Name} is {foreign.DType}, which MLX does not have; choose F32, BF16, F16, or affine groups.");
        }

        return affine is [var one] ? one : null;
    }
}
