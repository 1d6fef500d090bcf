using System.Collections.Concurrent;
using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Quantization;

/// <summary>
/// A model in the types of a recipe, ready to be written. Weights are quantised while they are written, some rows at a time
/// on all processors; then <see cref="Errors"/> tells what it did to them.
/// </summary>
public sealed class QuantizedModel
{
    readonly ConcurrentDictionary<string, TensorError> _errors = new();

    QuantizedModel(Checkpoint source, QuantizationRecipe recipe, ImportanceWeights? importance, CancellationToken cancellation)
    {
        OpenElmConfig config = source.Config;
        Recipe = recipe.ValidatedFor(config);
        var tensors = ImmutableArray.CreateBuilder<QuantizedTensor>();
        var contents = new List<TensorSource>();
        foreach (TensorShape shape in TensorShapes.Of(config))
        {
            StoredWeight weight = source.Weights[shape.Name];
            TensorFormat format = recipe.FormatOf(config, shape);
            ReadOnlyMemory<float> columns = importance is not null && format.DType.IsBlocked()
                ? importance.Of(shape.Name, config.ShareInputOutputLayers && shape.Name == TensorNames.Embedding)
                : ReadOnlyMemory<float>.Empty;
            if (!columns.IsEmpty && columns.Length != shape.Shape[^1])
            {
                throw new OpenElmException($"The importance of {shape.Name} has {columns.Length} columns; the matrix has {shape.Shape[^1]}. It was collected with another model.");
            }

            tensors.Add(new QuantizedTensor(shape, weight.Parts[0].DType, format, !columns.IsEmpty));
            contents.Add(new TensorSource(shape.Name, format.DType, shape.Shape, stream =>
                _errors[shape.Name] = new WeightWriter(weight, format.DType, columns, cancellation).WriteTo(stream)));
        }

        (Tensors, Content) = (tensors.ToImmutable(), new ModelContent(config, contents) { Tokenizer = source.Tokenizer });
    }

    /// <summary>What chose the types.</summary>
    public QuantizationRecipe Recipe { get; }

    /// <summary>Every weight, in the order of the forward pass.</summary>
    public ImmutableArray<QuantizedTensor> Tensors { get; }

    /// <summary>What to write; the source must stay open until it is.</summary>
    public ModelContent Content { get; }

    /// <summary>By CoreNet's name, what quantising did to the weights written so far.</summary>
    public IReadOnlyDictionary<string, TensorError> Errors => _errors;

    /// <summary>Plans a quantised model.</summary>
    /// <param name="source">The model.</param>
    /// <param name="recipe">Which weight gets which type.</param>
    /// <param name="importance">Which columns count more, or null.</param>
    /// <param name="cancellation">Stops the writing.</param>
    /// <returns>The plan.</returns>
    /// <exception cref="OpenElmException">The recipe does not fit; while writing: a weight cannot be stored, and is named.</exception>
    public static QuantizedModel Create(Checkpoint source, QuantizationRecipe recipe, ImportanceWeights? importance = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(recipe);
        return new QuantizedModel(source, recipe, importance, cancellation);
    }

    /// <summary>The format that the recipe is made for: GGUF, mlx-lm's folder, or for plain types what the path's name says.</summary>
    /// <param name="path">The file or folder.</param>
    /// <returns>The format.</returns>
    public CheckpointFormat FormatFor(string path) =>
        Recipe.IsMlx ? CheckpointFormat.MlxLm : Recipe.IsBlocked ? CheckpointFormat.Gguf : CheckpointWriter.FormatOf(path);

    /// <summary>Checks that the result can be written to a path, before time is spent on it.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="overwrite">Whether an existing one is replaced.</param>
    /// <param name="format">The format; null takes <see cref="FormatFor"/>.</param>
    /// <exception cref="OpenElmException">It exists, or format and name do not go with the recipe.</exception>
    public void RequireWritable(string path, bool overwrite, CheckpointFormat? format = null)
    {
        CheckpointFormat chosen = format ?? FormatFor(path);
        bool isMlx = chosen is CheckpointFormat.Mlx or CheckpointFormat.MlxLm;
        if (Recipe.IsMlx ? !isMlx : Recipe.IsBlocked && chosen != CheckpointFormat.Gguf)
        {
            throw new OpenElmException($"{Recipe.Name} is a recipe {(Recipe.IsMlx ? "for MLX; choose mlx or mlx-lm" : "of GGUF; choose gguf")} as the format.");
        }

        if ((chosen == CheckpointFormat.Gguf) != (CheckpointWriter.FormatOf(path) == CheckpointFormat.Gguf))
        {
            throw new OpenElmException($"{path} {(chosen == CheckpointFormat.Gguf ? "will be a GGUF file; name one that ends in .gguf" : "will be a folder; do not name it as a GGUF file")}.");
        }

        if (!overwrite && (File.Exists(path) || Directory.Exists(path)))
        {
            throw new OpenElmException($"{path} exists; remove it, choose another name, or overwrite it.");
        }
    }

    /// <summary>Quantises and writes, atomically.</summary>
    /// <param name="path">The file or folder.</param>
    /// <param name="overwrite">Whether an existing one is replaced.</param>
    /// <param name="format">The format; null takes <see cref="FormatFor"/>.</param>
    /// <exception cref="OpenElmException">The format cannot express the model, a weight cannot be stored, or the path is wrong.</exception>
    public void Write(string path, bool overwrite = false, CheckpointFormat? format = null)
    {
        RequireWritable(path, overwrite, format);
        CheckpointWriter.Write(path, Content, format ?? FormatFor(path), overwrite);
    }
}
