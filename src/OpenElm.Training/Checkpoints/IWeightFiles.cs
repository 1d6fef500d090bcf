using OpenElm.Checkpoints;

namespace OpenElm.Training;

/// <summary>The files that trained weights are kept in: a whole model folder, or an adapter's folder.</summary>
public interface IWeightFiles
{
    /// <summary>Writes the files into a folder that exists.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="weights">The trained weights, in the order of <see cref="OpenElmModule.Trainable"/>.</param>
    void WriteInto(string folder, IReadOnlyList<TensorSource> weights);

    /// <summary>Reads weights that <see cref="WriteInto"/> wrote.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="model">Receives them.</param>
    /// <exception cref="OpenElmException">The files are damaged or belong to another model.</exception>
    void Load(string folder, OpenElmModule model);
}

/// <summary>Trained weights as a model folder that inference reads.</summary>
/// <param name="content">What the folder holds besides the weights.</param>
public sealed class ModelFiles(ModelContent content) : IWeightFiles
{
    /// <inheritdoc/>
    public void WriteInto(string folder, IReadOnlyList<TensorSource> weights) => ModelFolderWriter.WriteInto(folder, content with { Weights = weights });

    /// <inheritdoc/>
    public void Load(string folder, OpenElmModule model)
    {
        ArgumentNullException.ThrowIfNull(model);
        using ModelFolder stored = ModelFolder.Open(folder);
        if (stored.Config != content.Config)
        {
            throw new OpenElmException($"The checkpoint {folder} holds another architecture than the configuration; resume with the configuration it was made with.");
        }

        model.Load(stored);
    }
}
