using System.Collections.Immutable;
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

    /// <summary>Stand-ins of many tasks in few words: a group stands for its tasks where all have the same.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <returns>By description: the tasks and groups, with their numbers of examples.</returns>
    public static IEnumerable<IGrouping<string, string>> Told(IEnumerable<(string Name, string? Group, int Shots, ImmutableArray<StandIn> StandIns)> tasks) =>
        tasks.GroupBy(task => (Name: task.Group ?? task.Name, task.Shots))
            .SelectMany(group => group.All(task => task.StandIns.SequenceEqual(group.First().StandIns))
                ? [(group.Key.Name, group.Key.Shots, group.First().StandIns)]
                : group.Select(task => (task.Name, task.Shots, task.StandIns)))
            .SelectMany(task => task.StandIns.Select(standIn => (Name: $"{task.Name} ({task.Shots}-shot)", standIn.Description)))
            .GroupBy(standIn => standIn.Description, standIn => standIn.Name);
}
