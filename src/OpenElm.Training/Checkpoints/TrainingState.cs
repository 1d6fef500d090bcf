using System.Text.Json;
using System.Text.Json.Serialization;

namespace OpenElm.Training;

/// <summary>Everything besides weights and optimizer that a run needs to go on exactly where it stopped.</summary>
public sealed record TrainingState
{
    /// <summary>The version of this file's form.</summary>
    public const int CurrentFormat = 1;

    static readonly JsonSerializerOptions Json = new(JsonSerializerOptions.Strict)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>The version of the form the file was written in.</summary>
    public required int Format { get; init; }

    /// <summary>Optimizer updates made.</summary>
    public required long Step { get; init; }

    /// <summary>Targets trained on, padding excluded.</summary>
    public required long TokensSeen { get; init; }

    /// <summary>Time spent training, over all parts of the run.</summary>
    public required double TrainedSeconds { get; init; }

    /// <summary>Where the data stand: the next batch comes from here. An object as <see cref="OpenElm.Data.IDataPosition.ToJson"/> writes it.</summary>
    public required JsonElement Data { get; init; }

    /// <summary>The validation loss at this step, or null if it was not measured.</summary>
    public double? ValidationLoss { get; init; }

    /// <summary>Whether the checkpoint is one of the regular ones, which the average is made of.</summary>
    public required bool Interval { get; init; }

    /// <summary>The parts of the configuration that a resumed run must share, as YAML.</summary>
    public required string Identity { get; init; }

    /// <summary>Versions of the program and its libraries, for the record.</summary>
    public required IReadOnlyDictionary<string, string> Versions { get; init; }

    /// <summary>Reads a state file.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The state.</returns>
    /// <exception cref="OpenElmException">It is damaged or of another version.</exception>
    public static TrainingState Read(string path)
    {
        try
        {
            TrainingState state = JsonSerializer.Deserialize<TrainingState>(File.ReadAllText(path), Json)!;
            return state.Format == CurrentFormat
                ? state
                : throw new OpenElmException($"{path} has the form {state.Format}; this program reads form {CurrentFormat}. Resume with the version that wrote it.");
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            throw new OpenElmException($"{path} cannot be read as a training state: {e.Message}", e);
        }
    }

    /// <summary>The state as JSON.</summary>
    /// <returns>Indented JSON.</returns>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}
