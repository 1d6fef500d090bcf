namespace OpenElm.Training;

/// <summary>How a run is started, besides what its configuration says.</summary>
public sealed record PretrainOptions
{
    /// <summary><see cref="Resume"/>: the newest whole checkpoint of the run's folder, or a new run if there is none.</summary>
    public const string ResumeAuto = "auto";

    /// <summary>The folder that relative paths of the configuration start from.</summary>
    public string BaseDirectory { get; init; } = ".";

    /// <summary><c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Null starts anew; <see cref="ResumeAuto"/> or a checkpoint's path goes on.</summary>
    public string? Resume { get; init; }

    /// <summary>Whether a new run may replace the run that is in its folder.</summary>
    public bool Overwrite { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Continues a prompt with a model folder; null writes no samples.</summary>
    public TextSampler? Sampler { get; init; }
}

/// <summary>Continues a prompt; the inference runtime does it, which this library does not know.</summary>
/// <param name="modelFolder">The model to use.</param>
/// <param name="prompt">The beginning.</param>
/// <param name="options">Length and drawing.</param>
/// <param name="seed">Seed of the drawing.</param>
/// <returns>What follows the prompt.</returns>
public delegate string TextSampler(string modelFolder, string prompt, SampleConfig options, int seed);

/// <summary>The outcome of a run.</summary>
public sealed record PretrainResult
{
    /// <summary>The run's folder.</summary>
    public required string Output { get; init; }

    /// <summary>The model folder to use: the average if there is one, else the last checkpoint.</summary>
    public required string Model { get; init; }

    /// <summary>Updates made.</summary>
    public required long Steps { get; init; }

    /// <summary>Targets trained on, over all parts of the run.</summary>
    public required long TokensSeen { get; init; }

    /// <summary>The training loss of the last window, in nats a token.</summary>
    public required double TrainingLoss { get; init; }

    /// <summary>Validation loss of the last weights, or null without validation.</summary>
    public double? ValidationLoss { get; init; }

    /// <summary>Validation loss of the averaged weights, or null.</summary>
    public double? AverageValidationLoss { get; init; }

    /// <summary>Bits the model to use needs for a byte of held-out text, or null.</summary>
    public double? BitsPerByte { get; init; }

    /// <summary>Loss of a bigram model on the same held-out tokens, or null.</summary>
    public double? BigramLoss { get; init; }

    /// <summary>Share of the training time in which the trainer waited for data.</summary>
    public required double DataWaitShare { get; init; }

    /// <summary>Token positions a second of training time in this part of the run.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Time by phase, in the order they ran.</summary>
    public required IReadOnlyDictionary<string, TimeSpan> Timings { get; init; }

    /// <summary>The text written at the end.</summary>
    public required IReadOnlyList<TextSample> Samples { get; init; }
}

/// <summary>A prompt and how the model went on.</summary>
/// <param name="Prompt">The beginning.</param>
/// <param name="Continuation">What the model wrote.</param>
public sealed record TextSample(string Prompt, string Continuation);
