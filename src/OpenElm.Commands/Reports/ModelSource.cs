using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Commands;

/// <summary>A model as the user names it: a checkpoint of any format, a <c>config.json</c>, or a shipped name. What exists wins over a name.</summary>
/// <param name="Name">What the user wrote.</param>
/// <param name="Config">The architecture.</param>
/// <param name="Checkpoint">What the checkpoint holds; null for a bare architecture.</param>
internal sealed record ModelSource(string Name, OpenElmConfig Config, CheckpointFacts? Checkpoint)
{
    public static ModelSource Find(string name)
    {
        if (File.Exists(name) && Path.GetExtension(name).Equals(".json", StringComparison.OrdinalIgnoreCase))
        {
            return new ModelSource(name, OpenElmConfigJson.ReadFile(name), null);
        }

        if (Path.Exists(name))
        {
            CheckpointFacts facts = CheckpointFacts.Read(name);
            return new ModelSource(name, facts.Config, facts);
        }

        return NamedConfigs.Contains(name)
            ? new ModelSource(name, NamedConfigs.Get(name), null)
            : throw new OpenElmException($"{name} is neither a model (folder or file), nor a config.json, nor a shipped model ({string.Join(", ", NamedConfigs.Names)}).");
    }
}
