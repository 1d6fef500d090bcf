using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;

namespace OpenElm.Verification.Golden;

/// <summary>
/// Runs golden files against a runtime of ours: <c>openelm verify</c> and the tests. A file's kind is told by its name:
/// <c>model-*</c>, <c>train-*</c>, <c>sampling-*</c>, <c>adapters-*</c>.
/// </summary>
public static class GoldenSuite
{
    /// <summary>The golden files of a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <returns>Their names without the ending, sorted.</returns>
    /// <exception cref="OpenElmException">There is no such folder, or it holds none.</exception>
    public static IReadOnlyList<string> Discover(string folder) => GoldenFolder.Names(folder);

    /// <summary>Runs every file of a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="runtime">The runtime.</param>
    /// <returns>One result after another, in order of the names.</returns>
    /// <exception cref="OpenElmException">A file is damaged or not described.</exception>
    public static IEnumerable<GoldenResult> Run(string folder, IGoldenRuntime runtime) => Discover(folder).Select(name => RunFile(folder, name, runtime));

    /// <summary>Runs one file.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="name">The file, without its ending.</param>
    /// <param name="runtime">The runtime.</param>
    /// <returns>Its row of the report.</returns>
    /// <exception cref="OpenElmException">The file is damaged or not described.</exception>
    public static GoldenResult RunFile(string folder, string name, IGoldenRuntime runtime)
    {
        ArgumentNullException.ThrowIfNull(runtime);
        using GoldenFile file = GoldenFolder.Open(folder, name);
        try
        {
            return name.Split('-')[0] switch
            {
                "model" => Model(file, runtime),
                "train" => Trajectory(file, runtime),
                "sampling" => Sampling(file, runtime),
                "adapters" => Adapters(file, runtime),
                _ => GoldenResult.NotApplicable(file.Name, file.Kind, "this version has nothing to run it on"),
            };
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException { Source: "System.Text.Json" } or JsonException)
        {
            throw new OpenElmException($"{GoldenFolder.DescriptionFile} lacks something for {name}: {e.Message}", e);
        }
    }

    static GoldenResult Model(GoldenFile file, IGoldenRuntime runtime)
    {
        var model = new GoldenModel(
            file.Config(), file.Group("weights."), file.Ids("input_ids"), file.Ids("masked.targets"), file.Integer("padding_id_in_masked_loss"), file.Number("z_loss_eps"));
        if (runtime.RunModel(model) is not { } output)
        {
            return GoldenResult.NotApplicable(file.Name, file.Kind, $"the {runtime.Name} runtime runs no models");
        }

        List<GoldenCheck> checks = [GoldenComparison.Compare("logits", file.Tensors["logits"].Floats, output.Logits, GoldenMeasure.Absolute, GoldenAllowances.Logits)];
        foreach ((string group, GoldenLosses? losses) in new[] { ("loss", output.Losses), ("masked", output.MaskedLosses) })
        {
            if (losses is not null)
            {
                checks.Add(GoldenComparison.Compare($"{group}.cross_entropy", file.Scalar($"{group}.cross_entropy"), losses.CrossEntropy, GoldenMeasure.Absolute, GoldenAllowances.Losses));
                checks.Add(GoldenComparison.Compare($"{group}.z", file.Scalar($"{group}.z"), losses.Z, GoldenMeasure.Absolute, GoldenAllowances.Losses));
            }
        }

        if (output.Gradients is { } gradients)
        {
            checks.AddRange(file.Group("grads.").OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair =>
                GoldenComparison.Compare($"grads.{pair.Key}", pair.Value.Values, gradients.GetValueOrDefault(pair.Key), GoldenMeasure.Relative, GoldenAllowances.Gradients)));
        }

        return GoldenResult.Of(file.Name, file.Kind, checks);
    }

    static GoldenResult Trajectory(GoldenFile file, IGoldenRuntime runtime)
    {
        var training = new GoldenTrajectory(file.Config(), file.Group("initial."), file.Ids("input_ids"), Settings(file));
        if (runtime.RunTrajectory(training) is not { } output)
        {
            return GoldenResult.NotApplicable(file.Name, file.Kind, $"the {runtime.Name} runtime does not train");
        }

        double[] crossEntropy = file.Numbers("per_step.cross_entropy"), z = file.Numbers("per_step.z_loss");
        double[] gradNorm = file.Numbers("per_step.grad_norm"), learningRate = file.Numbers("per_step.learning_rate");
        var checks = new List<GoldenCheck>();
        for (int step = 0; step < crossEntropy.Length; step++)
        {
            GoldenStep ours = step < output.Steps.Count ? output.Steps[step] : new(double.NaN, double.NaN, double.NaN, double.NaN);
            checks.Add(GoldenComparison.Compare($"step {step} cross_entropy", crossEntropy[step], ours.CrossEntropy, GoldenMeasure.Relative, GoldenAllowances.Trajectory));
            checks.Add(GoldenComparison.Compare($"step {step} z_loss", z[step], ours.Z, GoldenMeasure.Relative, GoldenAllowances.Trajectory));
            checks.Add(GoldenComparison.Compare($"step {step} grad_norm", gradNorm[step], ours.GradNorm, GoldenMeasure.Relative, GoldenAllowances.Trajectory));
            checks.Add(GoldenComparison.Compare($"step {step} learning_rate", learningRate[step], ours.LearningRate, GoldenMeasure.Absolute, GoldenAllowances.LearningRates));
        }

        checks.AddRange(file.Group("final.").OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair =>
            GoldenComparison.Compare($"final.{pair.Key}", pair.Value.Values, output.FinalWeights.GetValueOrDefault(pair.Key), GoldenMeasure.Absolute, GoldenAllowances.FinalWeights)));
        return GoldenResult.Of(file.Name, file.Kind, checks);
    }

    static GoldenResult Adapters(GoldenFile file, IGoldenRuntime runtime)
    {
        var checks = new List<GoldenCheck>();
        foreach (string kind in GoldenAdapterFile.Kinds(file))
        {
            GoldenAdapter adapter = GoldenAdapterFile.Read(file, kind);
            if (runtime.RunAdapter(adapter) is not { } output)
            {
                return GoldenResult.NotApplicable(file.Name, file.Kind, $"the {runtime.Name} runtime has no adapters");
            }

            Compare("y", output.Y);
            Compare("merged", output.Merged);
            if (output.Gradients is { } gradients)
            {
                foreach (string name in file.Group($"{kind}.grad.").Keys.Order(StringComparer.Ordinal))
                {
                    Compare($"grad.{name}", gradients.GetValueOrDefault(name));
                }
            }

            void Compare(string name, float[]? actual) =>
                checks.Add(GoldenComparison.Compare($"{kind}.{name}", file.Tensor($"{kind}.{name}").Values, actual, GoldenMeasure.Relative, GoldenAllowances.Adapters));
        }

        return GoldenResult.Of(file.Name, file.Kind, checks);
    }

    static GoldenTrainingSettings Settings(GoldenFile file) => new()
    {
        MaxLr = file.Number("max_lr"),
        MinLr = file.Number("min_lr"),
        WarmupInitLr = file.Number("warmup_init_lr"),
        WarmupIterations = file.Integer("warmup_iterations"),
        MaxIterations = file.Integer("max_iterations"),
        Beta1 = file.Description.GetProperty("betas")[0].GetDouble(),
        Beta2 = file.Description.GetProperty("betas")[1].GetDouble(),
        Eps = file.Number("eps"),
        WeightDecay = file.Number("weight_decay"),
        ClipGradNorm = file.Number("clip_grad_norm"),
        ZLossFactor = file.Number("z_loss_eps", missing: 1e-4), // CoreNet's default
        Decay = [.. file.Description.GetProperty("param_groups").GetProperty("decay").EnumerateArray().Select(name => name.GetString()!)],
    };

    static GoldenResult Sampling(GoldenFile file, IGoldenRuntime runtime)
    {
        ImmutableArray<GoldenProcessor> processors = [.. file.Tensors.Tensors.Keys.Where(key => key is not ("input_ids" or "logits")).Select(ParseProcessor)];
        // A file holds one chain, as logits and as probabilities.
        processors = [.. processors.Select(p => p.Probabilities ? processors.Single(other => other.Key.StartsWith("chain_rp", StringComparison.Ordinal)) with { Key = p.Key, Probabilities = true } : p)];
        var sampling = new GoldenSampling(file.Ids("input_ids"), file.Tensor("logits"), processors);
        if (runtime.RunSampling(sampling) is not { } outputs)
        {
            return GoldenResult.NotApplicable(file.Name, file.Kind, $"the {runtime.Name} runtime does not sample");
        }

        return GoldenResult.Of(file.Name, file.Kind, processors.Select((processor, i) => GoldenComparison.Compare(
            processor.Key, file.Tensors[processor.Key].Floats, outputs.ElementAtOrDefault(i), GoldenMeasure.Absolute, GoldenAllowances.Sampling)));
    }

    // top_p_0.9, chain_rp1.2_t0.8_k20_p0.95, chain_probabilities
    static GoldenProcessor ParseProcessor(string key)
    {
        if (key == "chain_probabilities")
        {
            return new GoldenProcessor(key) { Probabilities = true };
        }

        int split = key.LastIndexOf('_');
        static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
        if (!key.StartsWith("chain_", StringComparison.Ordinal))
        {
            double value = Number(key[(split + 1)..]);
            return key[..split] switch
            {
                "repetition_penalty" => new GoldenProcessor(key) { RepetitionPenalty = value },
                "temperature" => new GoldenProcessor(key) { Temperature = value },
                "top_k" => new GoldenProcessor(key) { TopK = (int)value },
                "top_p" => new GoldenProcessor(key) { TopP = value },
                "min_p" => new GoldenProcessor(key) { MinP = value },
                _ => throw new OpenElmException($"The sampling file holds {key}, which is no known processor."),
            };
        }

        var processor = new GoldenProcessor(key);
        foreach (string part in key.Split('_')[1..])
        {
            processor = part switch
            {
                ['r', 'p', .. string value] => processor with { RepetitionPenalty = Number(value) },
                ['t', .. string value] => processor with { Temperature = Number(value) },
                ['k', .. string value] => processor with { TopK = (int)Number(value) },
                ['p', .. string value] => processor with { TopP = Number(value) },
                _ => throw new OpenElmException($"The sampling file holds {key}; its part {part} is no known processor."),
            };
        }

        return processor;
    }
}
