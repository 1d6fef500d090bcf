using OpenElm.Adapters;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Configuration;

public sealed class RunConfigTests
{
    public static TheoryData<string> Shipped => [.. Directory.GetFiles(Path.Combine(RepositoryFiles.Root, "configs", "training"), "*.yaml").Select(path => Path.GetFileNameWithoutExtension(path))];

    [Theory, MemberData(nameof(Shipped))]
    public void Every_shipped_configuration_is_valid_and_survives_a_round_trip(string name)
    {
        if (name.StartsWith("finetune", StringComparison.Ordinal))
        {
            RoundTrip<FinetuneConfig>();
        }
        else if (name.StartsWith("align", StringComparison.Ordinal))
        {
            RoundTrip<AlignConfig>();
        }
        else
        {
            RoundTrip<RunConfig>();
        }

        void RoundTrip<T>()
            where T : class
        {
            string written = StrictYaml.Write(StrictYaml.Read<T>(Path.Combine(RepositoryFiles.Root, "configs", "training", name + ".yaml")));
            Assert.Equal(written, StrictYaml.Write(StrictYaml.Parse<T>(written, "again")));
        }
    }

    // openelm.md 7.1
    [Theory]
    [InlineData("270m", 5, 2e-5, PreferenceLossKind.Hinge)]
    [InlineData("450m", 8, 3e-5, PreferenceLossKind.Hinge)]
    [InlineData("1.1b", 5, 5e-5, PreferenceLossKind.Sigmoid)]
    [InlineData("3b", 10, 1e-4, PreferenceLossKind.Hinge)]
    public void The_papers_preference_tuning_holds_the_papers_numbers(string name, int epochs, double peak, PreferenceLossKind loss)
    {
        AlignConfig config = StrictYaml.Read<AlignConfig>(Path.Combine(RepositoryFiles.Root, "configs", "training", $"align-{name}.yaml"));
        Assert.Equal((epochs, peak, loss, 0.01), (config.Data.Epochs, config.Schedule.MaxLearningRate, config.Loss.Kind, config.Loss.Beta));
        Assert.Equal((1024, 512, "zephyr", 42), (config.Data.MaxLength, config.Data.MaxPromptLength, config.Data.Template, config.Seed));
        Assert.Equal((0.1, 0.0, 0.0, null), (config.Schedule.WarmupRatio, config.Schedule.WarmupInitLearningRate, config.Schedule.MinLearningRate, config.Schedule.Decimals));
        Assert.Equal((0.9, 0.999, 1e-8, 0.0), (config.Optimizer.Beta1, config.Optimizer.Beta2, config.Optimizer.Epsilon, config.Optimizer.WeightDecay));
        Assert.Equal((128, 1.0, Precision.Bf16, true), (config.Trainer.MicroBatch * config.Trainer.Accumulation, config.Trainer.ClipGradNorm, config.Trainer.Precision, config.Trainer.ActivationCheckpointing));
        Assert.Equal((100, 1, 100, 10), (config.Checkpoints.Every, config.Checkpoints.KeepLast, config.Validation!.Every, config.Trainer.LogEvery));
    }

    // openelm.md 4.4
    [Theory]
    [InlineData("270m", 0.0053, 0.00053, Precision.Autocast, false, 271_691_008)]
    [InlineData("450m", 0.0039, 0.00039, Precision.Autocast, true, 457_375_744)]
    [InlineData("1.1b", 0.0024, 0.00024, Precision.Autocast, true, 1_080_153_600)]
    [InlineData("3b", 0.0012, 0.00012, Precision.Bf16, true, 3_037_040_640)]
    public void The_papers_configurations_hold_the_papers_numbers(string name, double peak, double floor, Precision precision, bool checkpointing, long parameters)
    {
        RunConfig config = Load(name);
        Assert.Equal((peak, floor, 1e-6, 5000), (config.Schedule.MaxLearningRate, config.Schedule.MinLearningRate, config.Schedule.WarmupInitLearningRate, config.Schedule.WarmupOf(config.Trainer.Steps)));
        Assert.Equal((350_000, 350_001), (config.Schedule.LastIteration(config.Trainer.Steps), config.Trainer.Steps));
        Assert.Equal((precision, checkpointing), (config.Trainer.Precision, config.Trainer.ActivationCheckpointing));
        Assert.Equal(parameters, ParameterCount.Of(config.Model.Resolve()).Total);
        Assert.Equal(4_194_304, TrainingPlan.Of(config).TokensPerStep);
        Assert.Equal((0.9, 0.95, 1e-8, 0.1, 1.0, 1e-4), (config.Optimizer.Beta1, config.Optimizer.Beta2, config.Optimizer.Epsilon, config.Optimizer.WeightDecay, config.Trainer.ClipGradNorm, config.Loss.ZLoss));
        Assert.Equal((DataMode.Faithful, 512, 256, 200, 2048, 1024, true), (config.Data.Mode, config.Data.Shards, config.Data.MinTokensPerText, config.Data.MinCharactersPerText, config.Data.DocumentSplitSize, config.Data.ReaderChunkSize, config.Data.ShuffleData));
        Assert.Equal(13, config.Data.Sources.Length);
    }

    // openelm.md 8.1 and the table of 8.2
    [Theory]
    [InlineData("270m", Precision.Autocast, false, 9_453_568, 9_611_904)]
    [InlineData("450m", Precision.Autocast, true, 13_508_608, 13_743_232)]
    [InlineData("1.1b", Precision.Autocast, true, 24_281_088, 24_718_720)]
    [InlineData("3b", Precision.Bf16, true, 45_887_488, 46_732_288)]
    public void The_papers_adapter_configurations_hold_the_papers_numbers(string size, Precision precision, bool checkpointing, long trained, long trainedWithDora)
    {
        FinetuneConfig config = StrictYaml.Read<FinetuneConfig>(Path.Combine(RepositoryFiles.Root, "configs", "training", $"finetune-commonsense-{size}.yaml"));
        OpenElmConfig model = new ModelConfig { Base = $"openelm-{size}", VocabSize = 32128 }.Resolve();
        Assert.Equal(trained, TrainingPlan.Of(model, config.Trainer, config.Data.SequenceLength!.Value, config.Adapter!.Resolve(model)).TrainedParameters);
        AdapterConfig dora = config.Adapter with { Rules = [.. config.Adapter.Rules.Select(rule => rule with { Dora = !rule.Modules.Contains("embedding", StringComparison.Ordinal) })] };
        Assert.Equal(trainedWithDora, TrainingPlan.Of(model, config.Trainer, config.Data.SequenceLength!.Value, dora.Resolve(model)).TrainedParameters);
        Assert.All(config.Adapter!.Rules, rule => Assert.Equal((32, 32.0, 0.1, false), (rule.Rank, rule.Alpha, rule.Dropout, rule.RsLora)));
        Assert.Equal((3e-4, 3e-5, 1e-6, 1000, 4375), (config.Schedule.MaxLearningRate, config.Schedule.MinLearningRate, config.Schedule.WarmupInitLearningRate, config.Schedule.WarmupOf(4376), config.Schedule.LastIteration(4376)));
        Assert.Equal((0.9, 0.95, 1e-8, 0.0, 1.0, 1e-4), (config.Optimizer.Beta1, config.Optimizer.Beta2, config.Optimizer.Epsilon, config.Optimizer.WeightDecay, config.Trainer.ClipGradNorm, config.Loss.ZLoss));
        Assert.Equal((precision, checkpointing, 4376, 8 * 2 * 8), (config.Trainer.Precision, config.Trainer.ActivationCheckpointing, config.Trainer.Steps, config.Trainer.MicroBatch * config.Trainer.Accumulation));
        Assert.Equal((LossScope.Everything, "instruction", 2048, true), (config.Data.LossOn, config.Data.TemplateName, config.Data.SequenceLength, config.Data.CleanUp));
    }

    // The sizes that docs/adapters.md names.
    [Fact]
    public void The_3B_beside_blocks_of_four_bits_fits_a_small_machine()
    {
        FinetuneConfig config = StrictYaml.Read<FinetuneConfig>(
            Path.Combine(RepositoryFiles.Root, "configs", "training", "finetune-commonsense-3b.yaml"), ["base_weights=Q4_K", "trainer.micro_batch=1", "trainer.accumulation=128"]);
        OpenElmConfig model = new ModelConfig { Base = "openelm-3b", VocabSize = 32128 }.Resolve();
        TrainingPlan PlanOf(string? baseWeights) => TrainingPlan.Of(model, config.Trainer, config.Data.SequenceLength!.Value, config.Adapter!.Resolve(model), BaseWeightFormat.Parse(baseWeights));

        TensorShape[] matrices = [.. TensorShapes.Of(model).Where(weight => weight.Shape.Length == 2 && weight.Name != TensorNames.Embedding)];
        long blocks = matrices.Sum(weight => weight.Elements) / 256 * 144, rest = 2 * (ParameterCount.Of(model).Total - matrices.Sum(weight => weight.Elements));
        Assert.Equal(blocks + rest + (2 * matrices.Max(weight => weight.Elements)) + (4 * 45_887_488), PlanOf(config.BaseWeights).WeightBytes);
        Assert.InRange(PlanOf(config.BaseWeights).TotalBytes, 6.4e9, 6.5e9);
        Assert.InRange(PlanOf(null).TotalBytes, 10.4e9, 10.6e9);
    }

    [Fact]
    public void Problems_of_all_sections_are_reported_at_once_with_their_lines()
    {
        string yaml = File.ReadAllText(Path.Combine(RepositoryFiles.Root, "configs/training/quickstart.yaml"))
            .Replace("head_dim: 32", "head_dim: 33", StringComparison.Ordinal)
            .Replace("warmup_iterations: 50", "warmup_iterations: 5000", StringComparison.Ordinal)
            .Replace("micro_batch: 8", "micro_bath: 8", StringComparison.Ordinal)
            .Replace("keep_last: 5", "keep_last: many", StringComparison.Ordinal);
        string message = Assert.Throws<OpenElmException>(() => StrictYaml.Parse<RunConfig>(yaml, "my.yaml")).Message;
        Assert.Contains("micro_bath", message, StringComparison.Ordinal);
        Assert.Contains("micro_batch", message, StringComparison.Ordinal);
        Assert.Contains("keep_last", message, StringComparison.Ordinal);
        Assert.Contains("head_dim is 33", message, StringComparison.Ordinal);
        Assert.Contains($"my.yaml:{1 + yaml[..yaml.IndexOf("micro_bath", StringComparison.Ordinal)].Count(c => c == '\n')}", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sections_that_contradict_each_other_are_refused()
    {
        string message = Assert.Throws<OpenElmException>(() => StrictYaml.Read<RunConfig>(
            Path.Combine(RepositoryFiles.Root, "configs/training/quickstart.yaml"),
            ["schedule.warmup_iterations=100000", "checkpoints.keep_last=2", "tokenizer.path=x"])).Message;
        Assert.Contains("schedule.warmup_iterations is 100000", message, StringComparison.Ordinal);
        Assert.Contains("checkpoints.keep_last is 2", message, StringComparison.Ordinal);
        Assert.Contains("exactly one", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_takes_its_base_and_what_differs()
    {
        OpenElmConfig config = new ModelConfig { Base = "openelm-270m", VocabSize = 32128, QkvMultipliers = 1.0 }.Resolve();
        Assert.Equal((32128, 20), (config.VocabSize, config.Layers[0].QueryHeads));
        Assert.Contains("openelm-1.1b", Assert.Throws<OpenElmException>(() => new ModelConfig { Base = "openelm-7b" }.Resolve()).Message, StringComparison.Ordinal);
    }

    static RunConfig Load(string name) => StrictYaml.Read<RunConfig>(Path.Combine(RepositoryFiles.Root, "configs", "training", name + ".yaml"));
}
