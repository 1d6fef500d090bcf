using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Adapters;

/// <summary>How the matrices of an adapter start.</summary>
public enum AdapterInitialization
{
    /// <summary>A of a linear layer uniform in ±1/√in (Kaiming with a = √5), B zero.</summary>
    KaimingUniform,

    /// <summary>A of a linear layer normal with standard deviation 1/rank, B zero.</summary>
    Gaussian,
}

/// <summary>
/// Which modules of a model get a low-rank adapter (LoRA, DoRA) and how (openelm.md 8.2; LoRA: arXiv 2106.09685, rsLoRA: 2312.03732, DoRA:
/// 2402.09353). The base weights are always frozen beside an adapter.
/// </summary>
public sealed record AdapterConfig : IValidated
{
    /// <summary>The adapter's name; part of its tensors' names.</summary>
    public string Name { get; init; } = "lora";

    /// <summary>The rules; a module may match one at most, and each must match a module.</summary>
    public required ImmutableArray<AdapterRule> Rules { get; init; }

    /// <summary>
    /// Expressions of what is not trained, matched from the start of the names of all weights: <c>layers.0.attn.qkv_proj.base_layer.weight</c> of an adapted
    /// module's base (frozen in any case), <c>layers.0.attn.qkv_proj.lora_A.NAME.weight</c> of an adapter.
    /// </summary>
    public ImmutableArray<string> Freeze { get; init; } = [];

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        problems.Require(AdapterTensor.IsName(Name), path, "name", $"is '{Name}'; it must be letters, digits, - and _ (and not 'weight').");
        problems.Require(Rules is { IsDefaultOrEmpty: false }, path, "rules", "is empty; name at least one rule.");
        for (int i = 0; i < (Freeze.IsDefault ? 0 : Freeze.Length); i++)
        {
            problems.Require(NameExpression.Problem(Freeze[i]) is null, path, $"freeze.{i}", $"is '{Freeze[i]}', which cannot be used: {NameExpression.Problem(Freeze[i])}");
        }
    }

    /// <summary>Applies the rules to a model.</summary>
    /// <param name="model">The architecture.</param>
    /// <returns>The adapted modules, in the order of the forward pass.</returns>
    /// <exception cref="OpenElmException">A rule matches nothing, a module two rules, or the embedding is to get a magnitude; all problems are listed.</exception>
    public ImmutableArray<AdaptedModule> Resolve(OpenElmConfig model)
    {
        RequireValid();
        var modules = ImmutableArray.CreateBuilder<AdaptedModule>();
        var problems = new List<string>();
        var unused = Enumerable.Range(0, Rules.Length).ToHashSet();
        NameExpression[] expressions = [.. Rules.Select(rule => NameExpression.Parse(rule.Modules))];
        foreach (AdaptableModule module in AdaptableModule.Of(model))
        {
            int[] matching = [.. Enumerable.Range(0, Rules.Length).Where(i => expressions[i].Matches(module.Name))];
            unused.ExceptWith(matching);
            if (matching.Length > 1)
            {
                problems.Add($"{module.Name} matches two rules, '{Rules[matching[0]].Modules}' and '{Rules[matching[1]].Modules}'; make them disjoint");
            }
            else if (matching is [int only])
            {
                AdapterRule rule = Rules[only];
                if (rule.Dora && module.IsEmbedding)
                {
                    problems.Add($"{module.Name} is the embedding, which DoRA cannot adapt; give it a rule of its own with dora: false");
                }

                modules.Add(new AdaptedModule(module)
                {
                    Rank = rule.Rank,
                    Alpha = rule.Alpha,
                    Dropout = module.IsEmbedding ? 0 : rule.Dropout,
                    RsLora = rule.RsLora,
                    Dora = rule.Dora,
                    Initialization = rule.Initialization,
                });
            }
        }

        problems.AddRange(unused.Order().Select(i =>
            $"the rule '{Rules[i].Modules}' matches no module that can be adapted; these are token_embeddings and layers.N.attn.qkv_proj, attn.out_proj, ffn.proj_1, ffn.proj_2"));
        return problems is [] ? modules.ToImmutable() : throw OpenElmException.Of("The adapter's rules do not fit the model", problems);
    }

    // For configurations made in code: the reader of files has checked its own.
    void RequireValid()
    {
        var problems = new List<string>();
        Validate("", problems);
        for (int i = 0; i < (Rules.IsDefault ? 0 : Rules.Length); i++)
        {
            Rules[i].Validate($"rules.{i}", problems);
        }

        if (problems is not [])
        {
            throw OpenElmException.Of("Invalid adapter configuration", problems);
        }
    }
}

/// <summary>One rule: modules, and the adapter they get. The defaults are the paper's (openelm.md 8.1).</summary>
public sealed record AdapterRule : IValidated
{
    /// <summary>A regular expression matched from the start of module names, such as <c>.*qkv_proj.*</c>.</summary>
    public required string Modules { get; init; }

    /// <summary>Rows of A and columns of B.</summary>
    public int Rank { get; init; } = 32;

    /// <summary>α: the update is scaled by α/rank, or α/√rank with rsLoRA.</summary>
    public double Alpha { get; init; } = 32;

    /// <summary>Share of the adapter's input that is zeroed in training; the embedding, whose input are ids, has none.</summary>
    public double Dropout { get; init; } = 0.1;

    /// <summary>Scale by α/√rank instead of α/rank.</summary>
    public bool RsLora { get; init; }

    /// <summary>DoRA: learn the length of every row apart from its direction; linear layers only.</summary>
    public bool Dora { get; init; }

    /// <summary>How A and B start; the embedding always has A zero and B normal with standard deviation 1.</summary>
    public AdapterInitialization Initialization { get; init; }

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        string? wrong = NameExpression.Problem(Modules);
        problems.Require(wrong is null, path, "modules", $"is '{Modules}', which cannot be used: {wrong}");
        problems.Require(Rank is >= 1 and <= 1 << 16, path, "rank", $"is {Rank}; it must be in [1, 65536].");
        problems.Require(Alpha > 0 && double.IsFinite(Alpha), path, "alpha", $"is {Alpha}; it must be a positive number.");
        problems.Require(Dropout is >= 0 and < 1, path, "dropout", $"is {Dropout}; it must be in [0, 1).");
    }
}
