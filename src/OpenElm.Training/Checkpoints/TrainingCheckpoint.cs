using OpenElm.Checkpoints;
using OpenElm.IO;

namespace OpenElm.Training;

/// <summary>
/// One saved moment of a run: a model or adapter folder, and in it <c>trainer/</c> with the optimizer (and the moving average),
/// the state, and the effective configuration; <c>manifest.json</c> holds the checksums of all files.
/// </summary>
public sealed record TrainingCheckpoint(string Path)
{
    const string TrainerFolder = "trainer";

    /// <summary>AdamW's moments.</summary>
    public string OptimizerFile => System.IO.Path.Combine(Path, TrainerFolder, "optimizer.safetensors");

    /// <summary>The moving average of the weights; absent when the run keeps none.</summary>
    public string EmaFile => System.IO.Path.Combine(Path, TrainerFolder, "ema.safetensors");

    string StateFile => System.IO.Path.Combine(Path, TrainerFolder, "state.json");

    /// <summary>Reads the state.</summary>
    /// <returns>The state.</returns>
    /// <exception cref="OpenElmException">There is none, or it is damaged.</exception>
    public TrainingState ReadState() => TrainingState.Read(StateFile);

    /// <summary>Says what is wrong with the files, or null if the checkpoint is whole.</summary>
    /// <returns>Half a sentence, such as "its file model.safetensors is missing".</returns>
    public string? FindDamage() => CheckpointManifest.FindDamage(Path);

    /// <summary>Writes a checkpoint; killed at any moment, it is there whole or not at all.</summary>
    /// <param name="path">The folder; one of the same name is replaced.</param>
    /// <param name="writeWeights">Writes the trained weights into the folder it is given.</param>
    /// <param name="optimizer">The optimizer's tensors.</param>
    /// <param name="ema">The moving average, or null.</param>
    /// <param name="state">The state.</param>
    /// <param name="configuration">The effective configuration as YAML.</param>
    /// <returns>The checkpoint.</returns>
    public static TrainingCheckpoint Write(
        string path, Action<string> writeWeights, IReadOnlyList<TensorSource> optimizer, IReadOnlyList<TensorSource>? ema, TrainingState state, string configuration)
    {
        AtomicFolder.Write(path, folder =>
        {
            var partial = new TrainingCheckpoint(folder);
            writeWeights(folder);
            SafetensorsWriter.Write(partial.OptimizerFile, optimizer);
            if (ema is not null)
            {
                SafetensorsWriter.Write(partial.EmaFile, ema);
            }

            AtomicFile.WriteText(partial.StateFile, state.ToJson() + "\n");
            AtomicFile.WriteText(System.IO.Path.Combine(folder, TrainerFolder, "config.yaml"), configuration);
            CheckpointManifest.Write(folder);
        }, overwrite: true);
        return new TrainingCheckpoint(path);
    }
}
