using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Quantization;

namespace OpenElm.Training;

/// <summary>The setting <c>base_weights</c>: how the frozen matrices beside an adapter are held.</summary>
internal static class BaseWeightFormat
{
    static readonly string[] Names = [.. QuantizationRecipe.TypeNames.Where(name => QuantizationRecipe.ParseType(name).IsBlocked())];

    /// <summary>Finds the format.</summary>
    /// <param name="setting">A valid setting.</param>
    /// <returns>The format, or null for numbers in the precision of the run.</returns>
    public static DType? Parse(string? setting) => setting is null ? null : QuantizationRecipe.ParseType(setting);

    /// <summary>Adds a sentence where the setting is wrong.</summary>
    /// <param name="setting">The setting.</param>
    /// <param name="adapter">The adapter, or null.</param>
    /// <param name="path">The path of the configuration, empty for a file's root.</param>
    /// <param name="problems">The list to add to.</param>
    public static void Validate(string? setting, AdapterConfig? adapter, string path, List<string> problems)
    {
        problems.Require(setting is null || Names.Contains(setting, StringComparer.OrdinalIgnoreCase), path, "base_weights", $"is {setting}; it must be one of {string.Join(", ", Names)}, or null.");
        problems.Require(setting is null || adapter is not null, path, "base_weights", $"is {setting}, but without an adapter the weights are trained, and blocks of few bits cannot be; add an adapter section or set base_weights to null.");
    }
}
