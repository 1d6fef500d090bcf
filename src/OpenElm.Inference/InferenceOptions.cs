using System.Collections.Immutable;

namespace OpenElm.Inference;

/// <summary>How a model is opened for inference. Validated when the model is opened.</summary>
public sealed record InferenceOptions
{
    /// <summary>The longest sequence; null takes <c>rope_max_length</c> of the model's configuration.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Threads that share a matrix product; null takes one for each processor.</summary>
    public int? Threads { get; init; }

    /// <summary>How keys and values of past positions are kept.</summary>
    public KvCacheType KvCache { get; init; }

    /// <summary>The kernel set by name; null takes <c>OPENELM_KERNELS</c>, or the fastest this machine runs. A GPU has one only, without a name.</summary>
    public string? Kernels { get; init; }

    /// <summary>Where the model computes; null is the CPU.</summary>
    public InferenceDevice? Device { get; init; }

    /// <summary>Adapters that are applied beside the weights; what they do adds up.</summary>
    public ImmutableArray<AdapterPath> Adapters { get; init; } = [];

    /// <summary>Receives warnings, one sentence each; null drops them.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>For measurements: LayerNorm (weights, no bias) in the place of every RMSNorm, which is another model. A GPU only.</summary>
    internal bool LayerNorm { get; init; }

    /// <summary>For measurements: a kernel for each operation, also where a token alone has one for all. A GPU only.</summary>
    internal bool KernelsApart { get; init; }

    /// <summary>Of the variants of a GPU's step one by its number, or −1 for the fastest, whatever the model's size; null takes the fastest for a model of some size, and the first for a small one.</summary>
    internal int? StepVariant { get; init; }

    /// <summary>Checks every option.</summary>
    /// <returns>These options.</returns>
    /// <exception cref="OpenElmException">An option is impossible; the message lists all.</exception>
    public InferenceOptions Validated()
    {
        var problems = new List<string>();
        if (MaxLength is < 1)
        {
            problems.Add($"the longest sequence is {MaxLength}; it must be 1 or more");
        }

        if (Threads is < 1)
        {
            problems.Add($"{Threads} threads; there must be 1 or more");
        }

        if (Device is null && (LayerNorm || KernelsApart))
        {
            problems.Add("LayerNorm and kernels of their own are measured on a GPU only, and the model is opened on the CPU");
        }

        foreach (AdapterPath adapter in Adapters.IsDefault ? [] : Adapters)
        {
            if (!double.IsFinite(adapter.Scale))
            {
                problems.Add($"the scale of the adapter {adapter.Path} is {adapter.Scale}; it must be a finite number");
            }
        }

        return problems is [] ? this : throw OpenElmException.Of("Invalid inference options", problems);
    }
}
