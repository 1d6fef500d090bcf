using System.Collections.Immutable;
using System.Reflection;
using OpenElm.Yaml;

namespace OpenElm.Evaluation.Tasks;

/// <summary>The tasks by name: built-in ones, and those of a user's own YAML files. All are made of <see cref="TaskDefinition"/>s.</summary>
public static class TaskCatalog
{
    static readonly Lazy<ImmutableArray<DefinedTask>> BuiltIn = new(ReadBuiltIn);

    /// <summary>The names of all built-in tasks.</summary>
    public static ImmutableArray<string> Names => [.. BuiltIn.Value.Select(task => task.Name)];

    /// <summary>The names of groups: each stands for all its tasks.</summary>
    public static ImmutableArray<string> Groups => [.. BuiltIn.Value.Select(task => task.Group).OfType<string>().Distinct()];

    /// <summary>The tasks of a name.</summary>
    /// <param name="name">A task, or a group: <c>arc_easy</c>, <c>mmlu</c>.</param>
    /// <returns>One task, or all of a group.</returns>
    /// <exception cref="OpenElmException">There is no such task; the message says what was probably meant.</exception>
    public static ImmutableArray<IEvaluationTask> Get(string name)
    {
        ImmutableArray<IEvaluationTask> found = [.. BuiltIn.Value.Where(task => task.Name == name || task.Group == name)];
        return found is not [] ? found
            : throw new OpenElmException($"There is no task '{name}'{Spelling.Hint(name, [.. Groups, .. Names.Where(task => !Groups.Any(group => task.StartsWith(group + "_", StringComparison.Ordinal))), .. Names])}");
    }

    /// <summary>The tasks of a user's YAML file; the page on evaluation tasks describes its keys.</summary>
    /// <param name="path">The file.</param>
    /// <returns>One task, or one for each variant.</returns>
    /// <exception cref="OpenElmException">The file is wrong; the message names all problems with their lines.</exception>
    public static ImmutableArray<IEvaluationTask> Load(string path) =>
        [.. Tasks(StrictYaml.Read<TaskDefinition>(path) with { Home = Path.GetDirectoryName(Path.GetFullPath(path)) })];

    internal static ImmutableArray<DefinedTask> Tasks(TaskDefinition definition) => definition.Variants is []
        ? [new DefinedTask(definition)]
        : [.. definition.Variants.Select(variant => new DefinedTask(definition.For(variant)))];

    static ImmutableArray<DefinedTask> ReadBuiltIn()
    {
        Assembly assembly = typeof(TaskCatalog).Assembly;
        var tasks = ImmutableArray.CreateBuilder<DefinedTask>();
        foreach (string file in assembly.GetManifestResourceNames().Where(name => name.EndsWith(".yaml", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            using var reader = new StreamReader(assembly.GetManifestResourceStream(file)!);
            tasks.AddRange(Tasks(StrictYaml.Parse<TaskDefinition>(reader.ReadToEnd(), file)));
        }

        return tasks.ToImmutable();
    }
}
