using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Cli;

/// <summary>A model as the user names it: a folder, a <c>config.json</c>, or a shipped name. A folder wins over a name.</summary>
/// <param name="Name">What the user wrote.</param>
/// <param name="Config">The architecture.</param>
/// <param name="Folder">What the folder holds; null for a bare architecture.</param>
internal sealed record ModelSource(string Name, OpenElmConfig Config, FolderFacts? Folder)
{
    public static ModelSource Find(string name)
    {
        if (Directory.Exists(name))
        {
            FolderFacts facts = FolderFacts.Read(name);
            return new ModelSource(name, facts.Config, facts);
        }

        if (File.Exists(name))
        {
            return new ModelSource(name, OpenElmConfigJson.ReadFile(name), null);
        }

        return NamedConfigs.Contains(name)
            ? new ModelSource(name, NamedConfigs.Get(name), null)
            : throw new OpenElmException($"{name} is neither a model folder, nor a config.json, nor a shipped model ({string.Join(", ", NamedConfigs.Names)}).");
    }
}
