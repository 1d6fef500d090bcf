using System.IO.Hashing;
using System.Text.Json;
using OpenElm.Adapters;
using OpenElm.Chat;
using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.Tokenization;
using OpenElm.Training.Reporting;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Runs;

/// <summary>Whole runs of supervised tuning of a tiny model, through the same door as <c>openelm finetune</c>.</summary>
[Collection(nameof(ProcessWide))]
public sealed class FinetuneRunTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public FinetuneRunTests()
    {
        string[] colours = ["red", "blue", "green", "black"], things = ["sky", "sea", "cat", "moon", "king", "bread", "salt"];
        string[] rows = [.. colours.SelectMany(colour => things.Select(thing => JsonSerializer.Serialize(new { instruction = $"Is the {thing} {colour}?", output = $"The {thing} is {colour}." })))];
        File.WriteAllLines(_folder["train.jsonl"], rows);
        File.WriteAllLines(_folder["validation.jsonl"], rows.Where((_, i) => i % 5 == 0));
        TuningFixture.WriteModel(_folder["model"], rows, seed: 7);
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_run_leaves_a_model_folder_with_its_template_and_a_lower_loss()
    {
        FinetuneConfig run = Config("run", epochs: 6) with { Samples = new SampleConfig { Prompts = ["Is the sea red?"] } };
        var prompts = new List<int[]>();
        RunResult result = Execute(run, new RunOptions { Sampler = (_, _, prompt, _, _) => { prompts.Add(prompt.ToArray()); return "So."; } });

        var folder = new RunFolder(_folder["run"]);
        // 28 examples, 4 a batch, 2 batches an update, 6 epochs.
        Assert.Equal((21, folder.CheckpointFolder(21)), (result.Steps, result.Model));
        IReadOnlyList<ValidationMetrics> validations = MetricsLog.Read(folder.MetricsFile).Validations;
        Assert.True(validations[^1].Loss < validations[0].Loss - 0.5, $"{validations[0].Loss} to {validations[^1].Loss}");
        Assert.Null(result.BitsPerByte);

        using ModelFolder tuned = ModelFolder.Open(result.Model);
        Assert.Equal(TuningFixture.Model, tuned.Config);
        Assert.Equal(ChatTemplate.Zephyr.Source, ChatTemplate.OfFolder(result.Model)!.Source);
        Assert.Equal("</s>", JsonDocument.Parse(tuned.ReadTokenizerConfig()!).RootElement.GetProperty("eos_token").GetString());
        var tokenizer = SentencePieceTokenizer.Load(tuned.TokenizerPath!);
        Assert.Equal(
            tokenizer.Encode("<s><|system|>\n</s>\n<|user|>\nIs the sea red?</s>\n<|assistant|>\n", new TokenizerOptions { RecognizeSpecialPieces = true })[1..],
            Assert.Single(prompts)[1..]);
        string report = File.ReadAllText(folder.ReportFile);
        Assert.Contains("records read", report, StringComparison.Ordinal);
        Assert.Contains("So.", report, StringComparison.Ordinal);
        FinetuneConfig saved = StrictYaml.Read<FinetuneConfig>(folder.ConfigFile);
        Assert.Equal((21, 0), (saved.Trainer.Steps, saved.Data.Epochs));
    }

    [Theory]
    [InlineData(ExampleBatching.Grouping, Precision.Fp32)]
    [InlineData(ExampleBatching.Packing, Precision.Bf16)]
    public void Stopping_and_resuming_gives_the_same_bits_as_going_straight_through(ExampleBatching batching, Precision precision)
    {
        FinetuneConfig Of(string output) => Config(output, epochs: 5) is var c
            ? c with { Data = c.Data with { Batching = batching, LossOn = LossScope.Responses }, Trainer = c.Trainer with { Precision = precision, Accumulation = 1, EmaMomentum = 0.1 } }
            : null!;
        long steps = Execute(Of("straight")).Steps;
        foreach (int stop in new[] { 3, 8 })
        {
            using var cancel = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() => Execute(Of("resumed"), new RunOptions { Resume = "auto" }, new Stopper(stop, cancel), cancel.Token));
        }

        Execute(Of("resumed"), new RunOptions { Resume = "auto" });
        foreach (string file in new[] { "model.safetensors", "trainer/optimizer.safetensors", "trainer/ema.safetensors", "tokenizer_config.json" })
        {
            Assert.Equal(TuningFixture.Hash(_folder["straight"], steps, file), TuningFixture.Hash(_folder["resumed"], steps, file));
        }
    }

    [Fact]
    public void Adapter_tuning_trains_the_adapter_alone_and_leaves_PEFTs_layout()
    {
        byte[] before = XxHash3.Hash(File.ReadAllBytes(_folder["model/model.safetensors"]));
        string? sampledWith = null;
        RunResult result = Execute(
            WithAdapter("run", epochs: 6) with { Samples = new SampleConfig { Prompts = ["Is the sea red?"] } },
            new RunOptions { Sampler = (model, adapter, _, _, _) => { sampledWith = $"{Path.GetFileName(model)} {Path.GetFileName(adapter)}"; return ""; } });

        Assert.Equal((_folder["model"], new RunFolder(_folder["run"]).CheckpointFolder(21)), (result.Model, result.Adapter));
        Assert.Equal("model step-00000021", sampledWith);
        IReadOnlyList<ValidationMetrics> validations = MetricsLog.Read(new RunFolder(_folder["run"]).MetricsFile).Validations;
        Assert.True(validations[^1].Loss < validations[0].Loss - 0.1, $"{validations[0].Loss} to {validations[^1].Loss}");

        Assert.False(File.Exists(Path.Combine(result.Adapter!, "model.safetensors")));
        Assert.Equal(ChatTemplate.Zephyr.Source, ChatTemplate.OfFolder(result.Adapter!)!.Source);
        using Adapter stored = AdapterFolder.Open(result.Adapter!, TuningFixture.Model);
        Assert.Equal(9, stored.Modules.Length); // the embedding and four linear layers in each of two layers
        Assert.All(stored.Modules.Where(weights => !weights.Module.IsEmbedding), weights => Assert.Equal((4, 8.0), (weights.Module.Rank, weights.Module.Alpha)));
        using SafetensorsFile optimizer = SafetensorsFile.Open(new TrainingCheckpoint(result.Adapter!).OptimizerFile);
        Assert.Equal(3 * 18, optimizer.Tensors.Count); // two moments and a step for each A and B, nothing for the base
        Assert.All(optimizer.Tensors.Keys, name => Assert.Contains("lora_", name, StringComparison.Ordinal));
        Assert.Equal(before, XxHash3.Hash(File.ReadAllBytes(_folder["model/model.safetensors"])));
    }

    [Fact]
    public void An_adapter_with_dropout_resumes_to_the_same_bits()
    {
        Execute(WithAdapter("straight", epochs: 4));
        using (var cancel = new CancellationTokenSource())
        {
            Assert.Throws<OperationCanceledException>(() => Execute(WithAdapter("resumed", epochs: 4), new RunOptions { Resume = "auto" }, new Stopper(7, cancel), cancel.Token));
        }

        Execute(WithAdapter("resumed", epochs: 4), new RunOptions { Resume = "auto" });
        foreach (string file in new[] { "adapter_model.safetensors", "adapter_config.json", "trainer/optimizer.safetensors" })
        {
            Assert.Equal(TuningFixture.Hash(_folder["straight"], 14, file), TuningFixture.Hash(_folder["resumed"], 14, file));
        }
    }

    [Fact]
    public void An_adapter_beside_blocks_resumes_to_the_same_bits_and_not_beside_others()
    {
        static FinetuneConfig Quantized(string output) => WithAdapter(output, epochs: 4) with { BaseWeights = "q4_0" };
        RunResult straight = Execute(Quantized("straight"));
        IReadOnlyList<ValidationMetrics> validations = MetricsLog.Read(new RunFolder(_folder["straight"]).MetricsFile).Validations;
        Assert.True(validations[^1].Loss < validations[0].Loss - 0.1, $"{validations[0].Loss} to {validations[^1].Loss}");
        using (var cancel = new CancellationTokenSource())
        {
            Assert.Throws<OperationCanceledException>(() => Execute(Quantized("resumed"), new RunOptions { Resume = "auto" }, new Stopper(7, cancel), cancel.Token));
        }

        Execute(Quantized("resumed"), new RunOptions { Resume = "auto" });
        foreach (string file in new[] { "adapter_model.safetensors", "adapter_config.json", "trainer/optimizer.safetensors" })
        {
            Assert.Equal(TuningFixture.Hash(_folder["straight"], 14, file), TuningFixture.Hash(_folder["resumed"], 14, file));
        }

        Execute(WithAdapter("plain", epochs: 4));
        Assert.NotEqual(TuningFixture.Hash(_folder["straight"], 14, "adapter_model.safetensors"), TuningFixture.Hash(_folder["plain"], 14, "adapter_model.safetensors"));
        string refusal = Refused(Quantized("resumed") with { BaseWeights = "q8_0" }, new RunOptions { Resume = "auto" });
        Assert.Contains("it has base_weights: q4_0", refusal, StringComparison.Ordinal);

        // The adapter goes with the weights as they were, which no run has touched.
        using OpenElm.Checkpoints.Checkpoint model = OpenElm.Checkpoints.Checkpoint.Open(straight.Model);
        using Adapter adapter = Adapter.Open(straight.Adapter!, model.Config);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter, 1)]), []);
        using ModelFolder merged = ModelFolder.Open(_folder["merged"]), original = ModelFolder.Open(_folder["model"]);
        Assert.Equal(original.Weights["norm.weight"].ToFloats(), merged.Weights["norm.weight"].ToFloats());
    }

    [Fact]
    public void Blocks_are_for_weights_beside_an_adapter_and_of_a_format_that_exists()
    {
        List<string> Problems(FinetuneConfig config)
        {
            var problems = new List<string>();
            config.Validate("", problems);
            return problems;
        }

        FinetuneConfig run = WithAdapter("run", epochs: 1);
        Assert.Empty(Problems(run with { BaseWeights = "Q4_K" }));
        Assert.Contains("base_weights is Q4_K, but without an adapter", Assert.Single(Problems(run with { BaseWeights = "Q4_K", Adapter = null })), StringComparison.Ordinal);
        Assert.Contains("base_weights is bf16; it must be one of Q8_0,", Assert.Single(Problems(run with { BaseWeights = "bf16" })), StringComparison.Ordinal);
    }

    [Fact]
    public void An_adapter_does_not_go_on_beside_other_weights()
    {
        Execute(WithAdapter("run", epochs: 1));
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(_folder["model/tokenizer.model"]);
        ModelFolderWriter.Write(_folder["model"], RandomModel.Create(TuningFixture.Model, seed: 8) with { Tokenizer = tokenizer.ModelBytes }, overwrite: true);
        Assert.Contains("the configuration has model:", Refused(WithAdapter("run", epochs: 1), new RunOptions { Resume = "auto" }), StringComparison.Ordinal);
    }

    [Fact]
    public void An_adapter_that_fits_nothing_and_an_average_of_adapters_are_refused()
    {
        FinetuneConfig run = WithAdapter("run", epochs: 1);
        Assert.Contains("'.*nosuch.*' matches no module", Refused(run with { Adapter = new AdapterConfig { Rules = [new AdapterRule { Modules = ".*nosuch.*" }] } }, new RunOptions()), StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["run"]));
        var problems = new List<string>();
        (run with { Checkpoints = new CheckpointConfig { AverageLast = 2 } }).Validate("", problems);
        Assert.Contains("adapters are not averaged", Assert.Single(problems), StringComparison.Ordinal);
    }

    [Fact]
    public void Resuming_with_other_examples_is_refused()
    {
        FinetuneConfig run = Config("run", epochs: 1);
        Execute(run);
        File.AppendAllText(_folder["train.jsonl"], """{"instruction": "More?", "output": "No."}""" + "\n");
        FinetuneConfig sameSteps = run with { Data = run.Data with { Epochs = 0 }, Trainer = run.Trainer with { Steps = 4 } };
        Assert.Contains("other examples", Refused(sameSteps, new RunOptions { Resume = "auto" }), StringComparison.Ordinal);
    }

    [Fact]
    public void The_average_keeps_the_template_too()
    {
        // 14 updates: the newest two checkpoints are 14, which is no regular one, and 10; the average is of 10 and 5.
        FinetuneConfig run = Config("run", epochs: 4) with { Checkpoints = new CheckpointConfig { Every = 5, KeepLast = 2, AverageLast = 2 } };
        RunResult result = Execute(run);
        Assert.Equal(new RunFolder(_folder["run"]).AverageFolder, result.Model);
        Assert.NotNull(ChatTemplate.OfFolder(result.Model));
        Assert.NotNull(result.AverageValidationLoss);
        Assert.Equal([5, 10, 14], new RunFolder(_folder["run"]).Checkpoints().Select(entry => entry.Step));
    }

    [Fact]
    public void A_template_of_the_model_folder_is_used_and_kept_with_the_rest_of_its_file()
    {
        const string Template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}";
        File.WriteAllText(_folder["model/tokenizer_config.json"], JsonSerializer.Serialize(new { added = 1, chat_template = Template }));
        RunResult result = Execute(Config("run", epochs: 1));
        JsonElement kept = JsonDocument.Parse(File.ReadAllText(Path.Combine(result.Model, "tokenizer_config.json"))).RootElement;
        Assert.Equal((1, Template), (kept.GetProperty("added").GetInt32(), kept.GetProperty("chat_template").GetString()));
    }

    [Fact]
    public void Mistakes_are_refused_before_an_earlier_run_makes_room()
    {
        FinetuneConfig run = Config("run", epochs: 1);
        Execute(run);
        var overwrite = new RunOptions { Overwrite = true };
        Assert.Contains("nosuch", Refused(run with { Model = "nosuch" }, overwrite), StringComparison.Ordinal);
        Assert.Contains("nosuch.jsonl", Refused(run with { Data = run.Data with { Files = ["nosuch.jsonl"] } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("data.template is nosuch.jinja", Refused(run with { Data = run.Data with { Template = "nosuch.jinja" } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("max_context_length", Refused(run with { Data = run.Data with { SequenceLength = 81 } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("train.jsonl row 1 has", Refused(run with { Data = run.Data with { SequenceLength = 10 } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("4 updates", Refused(run with { Schedule = run.Schedule with { WarmupIterations = 9, WarmupRatio = null } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("holds a run already", Refused(run, new RunOptions()), StringComparison.Ordinal);
        Assert.NotEmpty(new RunFolder(_folder["run"]).Checkpoints());
    }

    [Fact]
    public void The_plan_counts_updates_and_the_widest_batch()
    {
        FinetuneConfig run = Config("run", epochs: 6);
        TrainingPlan packed = FinetuneRun.Plan(run with { Data = run.Data with { Batching = ExampleBatching.Packing } }, _folder.Path, TestContext.Current.CancellationToken);
        TrainingPlan padded = FinetuneRun.Plan(run, _folder.Path, TestContext.Current.CancellationToken);
        Assert.Equal(80 * 4 * 2, packed.TokensPerStep);
        Assert.True(padded.TokensPerStep < packed.TokensPerStep);
        Assert.Equal(21 * padded.TokensPerStep, padded.Tokens);
    }

    [Fact]
    public void Steps_and_epochs_are_alternatives()
    {
        FinetuneConfig run = Config("run", epochs: 1);
        List<string> Problems(FinetuneConfig config)
        {
            var problems = new List<string>();
            config.Validate("", problems);
            return problems;
        }

        Assert.Empty(Problems(run));
        Assert.Empty(Problems(run with { Data = run.Data with { Epochs = 0 }, Trainer = run.Trainer with { Steps = 1 } })); // all of it warm-up
        Assert.Contains("exactly one", Assert.Single(Problems(run with { Trainer = run.Trainer with { Steps = 5 } })), StringComparison.Ordinal);
        Assert.Contains("exactly one", Assert.Single(Problems(run with { Data = run.Data with { Epochs = 0 } })), StringComparison.Ordinal);
    }

    static FinetuneConfig WithAdapter(string output, int epochs) => Config(output, epochs) with
    {
        Adapter = new AdapterConfig { Rules = [new AdapterRule { Modules = ".*", Rank = 4, Alpha = 8, Dropout = 0.1 }] },
    };

    static FinetuneConfig Config(string output, int epochs) => new()
    {
        Output = output,
        Seed = 3,
        Model = "model",
        Data = new ExampleConfig { Files = ["train.jsonl"], Template = ExampleConfig.ChatTemplate, Epochs = epochs },
        Validation = new RecordValidationConfig { Files = ["validation.jsonl"], Every = 5 },
        Schedule = new ScheduleConfig { MaxLearningRate = 0.01, MinLearningRate = 0, WarmupInitLearningRate = 0, WarmupRatio = 0.1, Decimals = null },
        Trainer = new TrainerConfig { MicroBatch = 4, Accumulation = 2, AccumulationReduction = AccumulationReduction.TokenMean, LogEvery = 5 },
        Checkpoints = new CheckpointConfig { Every = 5, AverageLast = 0 },
    };

    RunResult Execute(FinetuneConfig run, RunOptions? options = null, IRunObserver? observer = null, CancellationToken cancel = default)
    {
        using var tuning = new FinetuneRun(
            observer is null ? run : run with { Trainer = run.Trainer with { LogEvery = 1 } }, (options ?? new RunOptions()) with { BaseDirectory = _folder.Path }, observer ?? new Silent(), cancel);
        return tuning.Execute(cancel);
    }

    string Refused(FinetuneConfig run, RunOptions options) => Assert.Throws<OpenElmException>(() => Execute(run, options)).Message;


    sealed class Silent : IRunObserver;
}
