using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>Matches the weights that a file holds with those that its architecture needs.</summary>
internal static class WeightMatching
{
    /// <summary>Takes what the architecture needs; all misfits are listed at once.</summary>
    /// <param name="path">The file or folder, for the message.</param>
    /// <param name="source">What says the architecture, for the message: <c>config.json</c>, its metadata.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">What the file holds, under CoreNet's names.</param>
    /// <returns>Every weight of the architecture.</returns>
    /// <exception cref="OpenElmException">Weights are missing, too many, or of other shapes.</exception>
    public static ImmutableDictionary<string, StoredWeight> Match(string path, string source, OpenElmConfig config, IEnumerable<StoredWeight> weights)
    {
        var found = new Dictionary<string, StoredWeight>();
        var problems = new List<string>();
        foreach (StoredWeight weight in weights)
        {
            if (!found.TryAdd(weight.Name, weight))
            {
                problems.Add($"{weight.Name} is stored twice");
            }
        }

        var matched = ImmutableDictionary.CreateBuilder<string, StoredWeight>();
        foreach (TensorShape expected in TensorShapes.Of(config))
        {
            if (!found.Remove(expected.Name, out StoredWeight? weight))
            {
                problems.Add($"{expected.Name} is missing");
            }
            else if (!weight.Shape.SequenceEqual(expected.Shape))
            {
                problems.Add($"{expected.Name} is [{string.Join(", ", weight.Shape)}]; {source} implies [{string.Join(", ", expected.Shape)}]");
            }
            else
            {
                matched.Add(expected.Name, weight);
            }
        }

        // A tied model may carry a copy of its embedding as a head; it is ignored, as Hugging Face's class ignores it.
        problems.AddRange(found.Keys.Where(name => name != TensorNames.Classifier).Order(StringComparer.Ordinal).Select(name => $"{name} is no weight of this model"));
        return problems is [] ? matched.ToImmutable() : throw OpenElmException.Of($"The weights in {path} do not fit its {source}", problems);
    }
}
