using OpenElm.Distributed;

namespace OpenElm.Training;

/// <summary>How a run is started, besides what its configuration says.</summary>
public sealed record RunOptions
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

    /// <summary>The ranks of the job this process belongs to; null for a process that is alone. Their first one writes files, logs and report.</summary>
    public IProcessGroup? Group { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Continues a prompt with a model folder; null writes no samples.</summary>
    public TextSampler? Sampler { get; init; }
}

/// <summary>Continues a prompt; the inference runtime does it, which this library does not know.</summary>
/// <param name="modelFolder">The model to use.</param>
/// <param name="adapterFolder">The adapter to use beside it, or null.</param>
/// <param name="prompt">[seq] token ids of the beginning, at least one.</param>
/// <param name="options">Length and drawing.</param>
/// <param name="seed">Seed of the drawing.</param>
/// <returns>What follows the prompt.</returns>
public delegate string TextSampler(string modelFolder, string? adapterFolder, ReadOnlyMemory<int> prompt, SampleConfig options, int seed);
