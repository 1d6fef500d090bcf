using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>
/// Averages the weights of several checkpoints of one model (openelm.md section 5): summed in double precision, divided
/// by their number, and rounded back to the type they are stored in. The published OpenELM weights are such an average
/// of the last five.
/// </summary>
public static class CheckpointAveraging
{
    /// <summary>Averages model folders into a new one; tokenizer and chat template are taken from the last.</summary>
    /// <param name="sources">Two or more model folders of the same architecture.</param>
    /// <param name="destination">The folder to write.</param>
    /// <param name="overwrite">Whether an existing folder is replaced.</param>
    /// <exception cref="OpenElmException">Fewer than two folders, or their architectures or types differ.</exception>
    public static void Average(IReadOnlyList<string> sources, string destination, bool overwrite = false)
    {
        ArgumentNullException.ThrowIfNull(sources);
        if (sources.Count < 2)
        {
            throw new OpenElmException($"An average needs two checkpoints or more; {sources.Count} was given.");
        }

        var models = new List<ModelFolder>();
        try
        {
            models.AddRange(sources.Select(ModelFolder.Open));
            RefuseDifferences(models);
            ModelFolder last = models[^1];
            IEnumerable<TensorSource> weights = TensorShapes.Of(last.Config).Select(shape => AverageOf(shape, [.. models.Select(model => model.Weights[shape.Name])]));
            ModelFolderWriter.Write(destination, new ModelContent(last.Config, [.. weights])
            {
                Tokenizer = last.ReadTokenizer(),
                TokenizerConfig = last.ReadTokenizerConfig(),
            }, overwrite);
        }
        finally
        {
            models.ForEach(model => model.Dispose());
        }
    }

    static void RefuseDifferences(List<ModelFolder> models)
    {
        ModelFolder first = models[0];
        foreach (ModelFolder other in models.Skip(1))
        {
            if (other.Config != first.Config)
            {
                throw new OpenElmException($"{other.Path} is another architecture than {first.Path}; only checkpoints of one model can be averaged.");
            }

            if (other.Weights.Values.First().DType is var dtype && first.Weights.Values.First().DType != dtype)
            {
                throw new OpenElmException($"{other.Path} stores {dtype} and {first.Path} {first.Weights.Values.First().DType}; convert them to one type first.");
            }
        }
    }

    // Written when its turn comes: one tensor of doubles is in memory at a time.
    static TensorSource AverageOf(TensorShape shape, ImmutableArray<TensorView> tensors) =>
        new(shape.Name, tensors[0].DType, shape.Shape, stream =>
        {
            double[] sum = new double[shape.Elements];
            float[] values = new float[shape.Elements];
            foreach (TensorView tensor in tensors)
            {
                tensor.CopyTo(values);
                for (int i = 0; i < sum.Length; i++)
                {
                    sum[i] += values[i];
                }
            }

            for (int i = 0; i < sum.Length; i++)
            {
                values[i] = (float)(sum[i] / tensors.Length);
            }

            stream.Write(FloatEncoding.Encode(values, tensors[0].DType));
        });
}
