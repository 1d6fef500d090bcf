using System.IO.Hashing;
using System.Text.Json;
using OpenElm.Adapters;
using OpenElm.Chat;
using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.Training.Reporting;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Runs;

/// <summary>Whole runs of preference tuning of a tiny model, through the same door as <c>openelm align</c>.</summary>
[Collection(nameof(ProcessWide))]
public sealed class AlignRunTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    // The chosen answer names the colour that was asked for; held-out pairs ask about other things.
    public AlignRunTests()
    {
        string[] colours = ["red", "blue", "green", "black"], things = ["sky", "sea", "cat", "moon", "king", "bread", "salt", "ship", "tree", "wall"];
        string[] rows = [.. things.SelectMany(thing => colours.Select((colour, i) => JsonSerializer.Serialize(new
        {
            prompt = $"Is the {thing} {colour}?",
            chosen = $"Yes, the {thing} is {colour}.",
            rejected = $"No, it is {colours[(i + 1) % 4]}.",
        })))];
        File.WriteAllLines(_folder["train.jsonl"], rows[..28]);
        File.WriteAllLines(_folder["validation.jsonl"], rows[28..]);
        WriteModel(seed: 7);
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(PreferenceLossKind.Sigmoid)]
    [InlineData(PreferenceLossKind.Hinge)]
    public void The_chosen_responses_gain_on_held_out_pairs(PreferenceLossKind kind)
    {
        AlignConfig run = Config("run", epochs: 6) with { Loss = new PreferenceLossConfig { Kind = kind, Beta = 0.1 }, Samples = new SampleConfig { Prompts = ["Is the sea red?"] } };
        RunResult result = Execute(run, new RunOptions { Sampler = (_, _, _, _, _) => "So." });

        Assert.Equal(21, result.Steps); // 28 pairs, 4 a batch, 2 batches an update, 6 epochs
        var folder = new RunFolder(_folder["run"]);
        (IReadOnlyList<StepMetrics> steps, IReadOnlyList<ValidationMetrics> validations) = MetricsLog.Read(folder.MetricsFile);
        Assert.Equal(kind == PreferenceLossKind.Hinge ? 1.0 : Math.Log(2), steps[0].Loss, 1e-5);
        Assert.True(validations[^1].Loss < 0.9 * steps[0].Loss, $"{steps[0].Loss} to {validations[^1].Loss}");
        Assert.Null(validations[^1].Perplexity);
        Assert.Equal(12, result.RewardAccuracy!.Value.Count);
        Assert.True(result.RewardAccuracy.Value.Low > 0.5, result.RewardAccuracy.ToString());
        Assert.Equal(
            ["preference_loss", "reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected", "log_probability_chosen", "log_probability_rejected", "logit_chosen", "logit_rejected"],
            steps[^1].Measured.Select(value => value.Name));

        string report = File.ReadAllText(folder.ReportFile);
        Assert.Contains("reward margin", report, StringComparison.Ordinal);
        Assert.Contains("of 12 pairs", report, StringComparison.Ordinal);
        Assert.Contains("So.", report, StringComparison.Ordinal);
        Assert.Equal(ChatTemplate.Zephyr.Source, ChatTemplate.OfFolder(result.Model)!.Source);
        using ModelFolder tuned = ModelFolder.Open(result.Model);
        Assert.Equal(TuningFixture.Model, tuned.Config);
        Assert.Equal(21, StrictYaml.Read<AlignConfig>(folder.ConfigFile).Trainer.Steps);
    }

    [Theory]
    [InlineData(ExampleBatching.Grouping, Precision.Fp32, false)]
    [InlineData(ExampleBatching.Padding, Precision.Bf16, false)]
    [InlineData(ExampleBatching.Padding, Precision.Fp32, true)]
    [InlineData(ExampleBatching.Padding, Precision.Fp32, true, "Q4_0")]
    public void Stopping_and_resuming_gives_the_same_bits_as_going_straight_through(ExampleBatching batching, Precision precision, bool adapter, string? baseWeights = null)
    {
        AlignConfig Of(string output) => Config(output, epochs: 5) is var c
            ? c with { Data = c.Data with { Batching = batching }, Trainer = c.Trainer with { Precision = precision, Accumulation = 1 }, Adapter = adapter ? Adapter() : null, BaseWeights = baseWeights }
            : null!;
        long steps = Execute(Of("straight")).Steps;
        foreach (int stop in new[] { 3, 8 })
        {
            using var cancel = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() => Execute(Of("resumed"), new RunOptions { Resume = "auto" }, new Stopper(stop, cancel), cancel.Token));
        }

        Directory.Delete(_folder["reference"], recursive: true); // the weights in training are others by now, the reference model's are not
        Execute(Of("resumed"), new RunOptions { Resume = "auto" });
        foreach (string file in new[] { adapter ? "adapter_model.safetensors" : "model.safetensors", "trainer/optimizer.safetensors" })
        {
            Assert.Equal(TuningFixture.Hash(_folder["straight"], steps, file), TuningFixture.Hash(_folder["resumed"], steps, file));
        }
    }

    [Fact]
    public void An_adapter_is_trained_alone_and_merges_to_what_was_trained()
    {
        byte[] before = XxHash3.Hash(File.ReadAllBytes(_folder["model/model.safetensors"]));
        RunResult result = Execute(Config("run", epochs: 6) with { Adapter = Adapter() });
        Assert.Equal((_folder["model"], new RunFolder(_folder["run"]).CheckpointFolder(21)), (result.Model, result.Adapter));
        Assert.True(result.RewardAccuracy!.Value.Low > 0.5, result.RewardAccuracy.ToString());
        Assert.Equal(before, XxHash3.Hash(File.ReadAllBytes(_folder["model/model.safetensors"])));
    }

    [Fact]
    public void The_reference_model_is_asked_once()
    {
        var messages = new Messages();
        Execute(Config("first", epochs: 1), observer: messages);
        Assert.Contains(messages.All, message => message.Contains("scores 28 training pairs", StringComparison.Ordinal));
        string[] files = Directory.GetFiles(_folder["reference"]);
        Assert.Equal(2, files.Length); // training and held-out pairs

        // Another β, the same model and pairs.
        messages = new Messages();
        Execute(Config("second", epochs: 1) with { Loss = new PreferenceLossConfig { Beta = 0.3 } }, observer: messages);
        Assert.Equal(2, messages.All.Count(message => message.Contains("are known from", StringComparison.Ordinal)));

        // A changed number does not have the checksum.
        byte[] bytes = File.ReadAllBytes(files[0]);
        bytes[^3] ^= 1;
        File.WriteAllBytes(files[0], bytes);
        messages = new Messages();
        Execute(Config("third", epochs: 1), observer: messages);
        Assert.Single(messages.All, message => message.Contains("do not have their checksum", StringComparison.Ordinal));
        Assert.Equal(2, Directory.GetFiles(_folder["reference"]).Length);

        // Other weights, other numbers.
        WriteModel(seed: 8);
        messages = new Messages();
        Execute(Config("fourth", epochs: 1), observer: messages);
        Assert.DoesNotContain(messages.All, message => message.Contains("are known from", StringComparison.Ordinal));
        Assert.Equal(4, Directory.GetFiles(_folder["reference"]).Length);
    }

    [Fact]
    public void A_run_does_not_go_on_with_another_reference_model_or_loss()
    {
        AlignConfig run = Config("run", epochs: 1);
        Execute(run);
        Assert.Contains("beta: 0.2", Refused(run with { Loss = new PreferenceLossConfig { Beta = 0.2 } }, new RunOptions { Resume = "auto" }), StringComparison.Ordinal);
        WriteModel(seed: 8);
        Assert.Contains("the configuration has model:", Refused(run, new RunOptions { Resume = "auto" }), StringComparison.Ordinal);
    }

    [Fact]
    public void Mistakes_are_refused_before_an_earlier_run_makes_room()
    {
        AlignConfig run = Config("run", epochs: 1);
        Execute(run);
        var overwrite = new RunOptions { Overwrite = true };
        File.WriteAllLines(_folder["empty.jsonl"], [File.ReadLines(_folder["train.jsonl"]).First(), """{"prompt": "Why?", "chosen": "", "rejected": "No."}"""]);
        Assert.Contains("nosuch", Refused(run with { Model = "nosuch" }, overwrite), StringComparison.Ordinal);
        Assert.Contains("empty.jsonl row 2", Refused(run with { Data = run.Data with { Files = ["empty.jsonl"] } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("data.max_length is 81", Refused(run with { Data = run.Data with { MaxLength = 81 } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("4 updates", Refused(run with { Schedule = run.Schedule with { WarmupIterations = 9, WarmupRatio = null } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("'.*nosuch.*' matches no module", Refused(run with { Adapter = new AdapterConfig { Rules = [new AdapterRule { Modules = ".*nosuch.*" }] } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("holds a run already", Refused(run, new RunOptions()), StringComparison.Ordinal);
        Assert.NotEmpty(new RunFolder(_folder["run"]).Checkpoints());
    }

    [Fact]
    public void The_plan_counts_both_sequences_of_a_pair()
    {
        TrainingPlan plan = AlignRun.Plan(Config("run", epochs: 6), _folder.Path, TestContext.Current.CancellationToken);
        Assert.Equal(0, plan.TokensPerStep % (4 * 2 * 2)); // pairs, passes, sequences
        Assert.Equal(21 * plan.TokensPerStep, plan.Tokens);
        Assert.False(Directory.Exists(_folder["run"]));
        Assert.False(Directory.Exists(_folder["reference"]));
    }

    static AdapterConfig Adapter() => new() { Rules = [new AdapterRule { Modules = "layers.*", Rank = 4, Alpha = 8, Dropout = 0.1 }] };

    static AlignConfig Config(string output, int epochs) => new()
    {
        Output = output,
        Seed = 3,
        Model = "model",
        Data = new PreferenceConfig { Files = ["train.jsonl"], MaxLength = 80, MaxPromptLength = 40, Epochs = epochs },
        Validation = new RecordValidationConfig { Files = ["validation.jsonl"], Every = 5 },
        Loss = new PreferenceLossConfig { Beta = 0.1 },
        Schedule = new ScheduleConfig { MaxLearningRate = 0.01, MinLearningRate = 0, WarmupInitLearningRate = 0, WarmupRatio = 0.1, Decimals = null },
        Trainer = new TrainerConfig { MicroBatch = 4, Accumulation = 2, LogEvery = 1 },
        Checkpoints = new CheckpointConfig { Every = 5, AverageLast = 0 },
    };

    void WriteModel(int seed) => TuningFixture.WriteModel(_folder["model"], File.ReadLines(_folder["train.jsonl"]), seed);

    RunResult Execute(AlignConfig run, RunOptions? options = null, IRunObserver? observer = null, CancellationToken cancel = default)
    {
        using var tuning = new AlignRun(run, (options ?? new RunOptions()) with { BaseDirectory = _folder.Path }, observer ?? new Messages(), cancel);
        return tuning.Execute(cancel);
    }

    string Refused(AlignConfig run, RunOptions options) => Assert.Throws<OpenElmException>(() => Execute(run, options)).Message;


    sealed class Messages : IRunObserver
    {
        public List<string> All { get; } = [];

        public void OnMessage(string message) => All.Add(message);
    }
}
