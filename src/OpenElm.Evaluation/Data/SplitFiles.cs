using System.Collections.Immutable;
using System.IO.Compression;
using OpenElm.Data.Rows;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Data;

/// <summary>Finds the files of a split: where the task says, then by the split's name in its folders, in the bundled form or in Hugging Face's layout.</summary>
internal static class SplitFiles
{
    /// <summary>Reads all rows of a split.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="split">The split.</param>
    /// <returns>The rows in the order of the files.</returns>
    /// <exception cref="OpenElmException">No file was found (the message names all that were looked for), or one is wrong.</exception>
    public static ImmutableArray<DataRow> Read(EvaluationData data, TaskDefinition task, string split)
    {
        ImmutableArray<string> files = Find(data, task, split, out _);
        return files is [] ? throw Missing(data, task, split, null) : Rows(files, task);
    }

    /// <summary>Reads all rows of files.</summary>
    /// <param name="files">The files.</param>
    /// <param name="task">The task.</param>
    /// <returns>The rows in the order of the files.</returns>
    public static ImmutableArray<DataRow> Rows(IEnumerable<string> files, TaskDefinition task) => [.. files.SelectMany(file => RowReader.Read(file, task.Columns))];

    /// <summary>What to tell about a split that is missing.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="split">The split.</param>
    /// <param name="standIn">What could stand in; null where nothing could.</param>
    /// <returns>To be thrown; it names all files that were looked for.</returns>
    public static OpenElmException Missing(EvaluationData data, TaskDefinition task, string split, string? standIn)
    {
        _ = Find(data, task, split, out List<string> wanted);
        return new OpenElmException($"{task.Task} needs the split '{split}', and none of these files is there: {string.Join(", ", wanted)}; "
            + $"put one of them into the data folder, or name another folder with --data or the variable {EvaluationData.EnvironmentVariable}"
            + (standIn is null ? "." : $", or take {standIn} instead with --allow-stand-ins."));
    }

    /// <summary>The files that may stand in for a task's documents.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <returns>Those of the first alternative that is there; none if the task names none.</returns>
    public static ImmutableArray<string> StandIns(EvaluationData data, TaskDefinition task) =>
        task.StandIns.TryGetValue(task.Task, out ImmutableArray<string> named) ? FirstOf(data, task, named, []) : [];

    /// <summary>Whether a split is there.</summary>
    /// <param name="data">The data folder.</param>
    /// <param name="task">The task.</param>
    /// <param name="split">The split.</param>
    /// <returns>Whether it is.</returns>
    public static bool Exist(EvaluationData data, TaskDefinition task, string split) => Find(data, task, split, out _) is not [];

    static ImmutableArray<string> Find(EvaluationData data, TaskDefinition task, string split, out List<string> wanted)
    {
        wanted = [];
        if (task.Files.TryGetValue(split, out ImmutableArray<string> named))
        {
            return FirstOf(data, task, named, wanted);
        }

        foreach (string folder in task.Folders is [] ? [task.Task] : task.Folders)
        {
            string place = Path.Combine(data.Root, folder);
            wanted.Add(Path.Combine(place, split) + ".{jsonl,json,csv,parquet}[.gz]");
            wanted.Add(Path.Combine(place, "[data/]" + split + "-*.parquet"));
            foreach (string path in RowReader.Endings.Select(ending => Path.Combine(place, split + ending))
                .Concat([Path.Combine(place, split + "-*.parquet"), Path.Combine(place, "data", split + "-*.parquet")]))
            {
                if (Matching(path) is { IsEmpty: false } found)
                {
                    return found;
                }
            }
        }

        return [];
    }

    static ImmutableArray<string> FirstOf(EvaluationData data, TaskDefinition task, ImmutableArray<string> alternatives, List<string> wanted)
    {
        foreach (string file in alternatives)
        {
            foreach (string root in task.Home is null ? [data.Root] : new[] { task.Home, data.Root })
            {
                string path = Path.Combine(root, file);
                wanted.Add(path);
                if (Matching(path) is { IsEmpty: false } found)
                {
                    return found;
                }
            }
        }

        return [];
    }

    // Shards are numbered, with leading zeros: 0000.parquet, test-00000-of-00002.parquet.
    static ImmutableArray<string> Matching(string path)
    {
        if (path.IndexOf('!', StringComparison.Ordinal) is > 0 and int at)
        {
            return File.Exists(path[..at]) && HasMember(path[..at], path[(at + 1)..]) ? [path] : [];
        }

        if (!path.Contains('*', StringComparison.Ordinal))
        {
            return File.Exists(path) ? [path] : [];
        }

        string folder = Path.GetDirectoryName(path)!;
        return Directory.Exists(folder) ? [.. Directory.EnumerateFiles(folder, Path.GetFileName(path)).Order(StringComparer.Ordinal)] : [];
    }

    static bool HasMember(string archive, string member)
    {
        try
        {
            using ZipArchive zip = ZipFile.OpenRead(archive);
            return zip.GetEntry(member) is not null;
        }
        catch (InvalidDataException wrong)
        {
            throw new OpenElmException($"{archive} is damaged or no zip file: {wrong.Message.TrimEnd('.')}; fetch it again.", wrong);
        }
    }
}
