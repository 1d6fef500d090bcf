using System.Text.Json.Serialization;

namespace OpenElm.Evaluation.Tasks;

/// <summary>Which part of a task's data is not the official one.</summary>
public enum StandInKind
{
    /// <summary>The documents that are asked.</summary>
    Documents,

    /// <summary>The solved examples before them.</summary>
    Examples,
}

/// <summary>Data that a user allowed to be taken where the official ones are missing.</summary>
/// <param name="Kind">What they are.</param>
/// <param name="Missing">The official split.</param>
/// <param name="Used">What was taken: a split, a file, or the evaluated documents.</param>
public sealed record StandIn(StandInKind Kind, string Missing, string Used)
{
    /// <summary>The stand-in in words, for warnings and footnotes.</summary>
    [JsonIgnore]
    public string Description => $"the {(Kind == StandInKind.Documents ? "documents" : "examples")} are from {Used}: the split '{Missing}' is missing";
}
