using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Adapters;

/// <summary>Matches the tensors of an adapter's file with the modules of a model.</summary>
internal static class AdapterMatching
{
    /// <summary>Takes all tensors; everything that does not fit is listed at once.</summary>
    /// <param name="path">The file or folder, for the message.</param>
    /// <param name="model">The architecture.</param>
    /// <param name="tensors">The adapter's tensors, in any spelling.</param>
    /// <param name="settings">What the file says of the modules; null takes rank and DoRA from the tensors, and α = rank.</param>
    /// <returns>The adapted modules, in the order of the forward pass.</returns>
    /// <exception cref="OpenElmException">A module is unknown or of another shape, or tensors are missing.</exception>
    public static ImmutableArray<AdapterWeights> Match(
        string path, OpenElmConfig model, IEnumerable<KeyValuePair<string, TensorView>> tensors, PeftConfig? settings)
    {
        var problems = new List<string>();
        var found = new Dictionary<(string Module, AdapterPart Part), TensorView>();
        foreach ((string name, TensorView view) in tensors)
        {
            if (!AdapterTensor.TryParse(name, out AdapterTensor tensor))
            {
                problems.Add($"{name} is no tensor of a LoRA or DoRA adapter");
            }
            else if (!found.TryAdd((tensor.Module, tensor.Part), view))
            {
                problems.Add($"{tensor.Module} has its {tensor.Part} twice; a file may hold one adapter");
            }
        }

        var matched = ImmutableArray.CreateBuilder<AdapterWeights>();
        foreach (AdaptableModule module in AdaptableModule.Of(model))
        {
            TensorView? Take(AdapterPart part) => found.Remove((module.Name, part), out TensorView view) ? view : null;

            (TensorView? a, TensorView? b, TensorView? magnitude) = (Take(AdapterPart.A), Take(AdapterPart.B), Take(AdapterPart.Magnitude));
            if (a is null && b is null && magnitude is null)
            {
                if (settings?.Targets(module.Name) == true)
                {
                    problems.Add($"{module.Name} is a target of the adapter and has no tensors");
                }

                continue;
            }

            if (Fit(module, a, b, magnitude, settings, problems) is { } weights)
            {
                matched.Add(weights);
            }
        }

        problems.AddRange(found.Keys.Select(key => key.Module).Distinct().Order(StringComparer.Ordinal).Select(module => $"{module} is no module of this model that an adapter can change"));
        return (problems, matched) switch
        {
            ([], []) => throw new OpenElmException($"{path} holds no tensors of an adapter (lora_A, lora_B)."),
            ([], _) => matched.ToImmutable(),
            _ => throw OpenElmException.Of($"The adapter {path} does not fit the model", problems),
        };
    }

    static AdapterWeights? Fit(AdaptableModule module, TensorView? a, TensorView? b, TensorView? magnitude, PeftConfig? settings, List<string> problems)
    {
        int before = problems.Count;
        if (a is not { } first || b is not { } second)
        {
            problems.Add($"{module.Name} has no {(a is null ? "lora_A" : "lora_B")}");
            return null;
        }

        long rank = first.Shape is [> 0 and <= 1 << 16 and var rows, _] ? rows : settings?.RankOf(module.Name) ?? 1;
        var adapted = new AdaptedModule(module)
        {
            Rank = (int)rank,
            Alpha = settings?.AlphaOf(module.Name) ?? rank,
            Dropout = module.IsEmbedding ? 0 : settings?.Dropout ?? 0,
            RsLora = settings?.RsLora ?? false,
            Dora = magnitude is not null,
            Initialization = settings?.Initialization ?? AdapterInitialization.KaimingUniform,
        };
        if (settings is not null && settings.RankOf(module.Name) != rank)
        {
            problems.Add($"{module.Name} has rank {rank}; {AdapterFolder.ConfigFile} says {settings.RankOf(module.Name)}");
        }

        Expect("lora_A", AdapterPart.A, first);
        Expect("lora_B", AdapterPart.B, second);
        if (magnitude is { } lengths)
        {
            if (module.IsEmbedding)
            {
                problems.Add($"{module.Name} is the embedding and has a magnitude; DoRA is for linear layers");
            }
            else
            {
                Expect("lora_magnitude_vector", AdapterPart.Magnitude, lengths);
            }
        }

        if (settings is not null && settings.DoraOf(module) != adapted.Dora)
        {
            problems.Add($"{module.Name} has {(adapted.Dora ? "a" : "no")} magnitude; {AdapterFolder.ConfigFile} says that it has {(adapted.Dora ? "none" : "one")}");
        }

        return problems.Count == before ? new AdapterWeights(adapted, first, second, magnitude) : null;

        void Expect(string name, AdapterPart part, TensorView view)
        {
            ImmutableArray<long> expected = adapted.ShapeOf(part);
            if (!view.Shape.SequenceEqual(expected))
            {
                problems.Add($"{module.Name}: {name} is [{string.Join(", ", view.Shape)}]; the model wants [{string.Join(", ", expected)}]");
            }
            else if (view.DType is not (DType.F32 or DType.BF16 or DType.F16 or DType.F64))
            {
                problems.Add($"{module.Name}: {name} holds {view.DType}; adapters are F32, BF16, F16 or F64");
            }
        }
    }
}
