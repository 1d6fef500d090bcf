using System.Collections.Immutable;
using System.IO.Hashing;
using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.Training.Reporting;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Runs;

/// <summary>Whole runs of a tiny model on a tiny corpus, through the same door as <c>openelm pretrain</c>; alone in the process, because one counts all live tensors.</summary>
[Collection(nameof(ProcessWide))]
public sealed class PretrainRunTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public PretrainRunTests()
    {
        // A grammar small enough to learn in a few dozen updates and large enough to be cut into many batches.
        var random = new Random(1);
        string[] subjects = ["the cat", "a dog", "my sister", "the old king"], verbs = ["sees", "likes", "follows"], objects = ["the moon", "a river", "bread and salt"];
        string Sentence() => $"{subjects[random.Next(4)]} {verbs[random.Next(3)]} {objects[random.Next(3)]}.";
        string Line() => JsonSerializer.Serialize(new { text = string.Join(' ', Enumerable.Range(0, 40).Select(_ => Sentence())) });
        File.WriteAllLines(_folder["train.jsonl"], Enumerable.Range(0, 60).Select(_ => Line()));
        File.WriteAllLines(_folder["validation.jsonl"], Enumerable.Range(0, 5).Select(_ => Line()));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_run_leaves_everything_it_promises_and_beats_the_bigram_model()
    {
        RunConfig run = Config("run", steps: 60) with { Samples = new SampleConfig { Prompts = ["the cat"] } };
        var events = new Events();
        RunResult result = Execute(run, events, new RunOptions { Sampler = (model, _, prompt, _, _) => $"[{Path.GetFileName(model)} after {prompt.Length} tokens]" });

        var folder = new RunFolder(_folder["run"]);
        Assert.Equal((60, folder.AverageFolder), (result.Steps, result.Model));
        Assert.True(result.AverageValidationLoss < result.BigramLoss, $"{result.AverageValidationLoss} is not below {result.BigramLoss}");
        Assert.Matches(@"^\[average after \d+ tokens\]$", Assert.Single(result.Samples).Continuation);
        Assert.Equal([30, 40, 50, 60], folder.Checkpoints().Select(entry => entry.Step));
        // Logged every 10 updates and at the validations after 25, 50 and 60.
        Assert.Equal([7, 3, 6, 1], [events.Steps.Count, events.Validations.Count, events.Checkpoints, events.Samples]);
        Assert.True(events.Steps[^1].Loss < events.Steps[0].Loss);
        Assert.Equal(RunOutcome.Completed, events.End);
        using ModelFolder average = ModelFolder.Open(folder.AverageFolder);
        Assert.True(File.Exists(average.TokenizerPath));
        Assert.Contains("validation", File.ReadAllText(folder.MetricsFile), StringComparison.Ordinal);
        Assert.Contains("the cat", File.ReadAllText(folder.ReportFile), StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetFiles(folder.TensorBoardFolder));
        Assert.Equal(StrictYaml.Write(run), File.ReadAllText(folder.ConfigFile));
    }

    [Theory]
    [InlineData(Precision.Fp32, 0.0)]
    [InlineData(Precision.Bf16, 0.01)]
    public void Stopping_and_resuming_gives_the_same_bits_as_going_straight_through(Precision precision, double ema)
    {
        RunConfig Of(string output) => Config(output, steps: 24) is var c ? c with { Trainer = c.Trainer with { Precision = precision, EmaMomentum = ema, Accumulation = 2 } } : null!;
        Execute(Of("straight"), new Events());

        // Stopped after update 11, between two regular checkpoints, and once more after 17.
        foreach (int stop in new[] { 11, 17 })
        {
            using var cancel = new CancellationTokenSource();
            var stopper = new Events { OnStepDone = step => { if (step == stop) { cancel.Cancel(); } } };
            Assert.Throws<OperationCanceledException>(() => Execute(Of("resumed"), stopper, new RunOptions { Resume = "auto" }, cancel.Token));
            Assert.Equal(RunOutcome.Stopped, stopper.End);
        }

        Execute(Of("resumed"), new Events(), new RunOptions { Resume = "auto" });
        foreach (string file in new[] { "model.safetensors", "trainer/optimizer.safetensors" }.Concat(ema > 0 ? ["trainer/ema.safetensors"] : []))
        {
            Assert.Equal(Hash("straight", 24, file), Hash("resumed", 24, file));
        }

        Assert.Equal(Steps("straight"), Steps("resumed"));
    }

    [Fact]
    public void Resuming_passes_over_a_damaged_checkpoint()
    {
        RunConfig run = Config("run", steps: 20);
        Execute(run, new Events());
        byte[] expected = Hash("run", 20, "model.safetensors");
        File.WriteAllBytes(Path.Combine(new RunFolder(_folder["run"]).CheckpointFolder(20), "model.safetensors"), [1, 2, 3]);
        var events = new Events();
        Execute(run, events, new RunOptions { Resume = "auto" });
        Assert.Contains(events.Messages, message => message.Contains("passed over", StringComparison.Ordinal));
        Assert.Equal(expected, Hash("run", 20, "model.safetensors"));
    }

    [Fact]
    public void Resuming_under_other_arithmetic_or_data_is_refused()
    {
        RunConfig run = Config("run", steps: 20);
        Execute(run, new Events());
        var resume = new RunOptions { Resume = "auto" };
        string message = Refused(run with { Optimizer = new OptimizerConfig { Beta2 = 0.9 }, Trainer = run.Trainer with { MicroBatch = 2 } }, resume);
        Assert.Contains("beta2: 0.9", message, StringComparison.Ordinal);
        Assert.Contains("micro_batch: 2", message, StringComparison.Ordinal);
        Assert.Contains("data position", Refused(run with { Data = run.Data with { Shards = 2 } }, resume), StringComparison.Ordinal);
    }

    [Fact]
    public void Going_back_to_an_older_checkpoint_needs_leave_to_drop_the_newer_ones()
    {
        RunConfig run = Config("run", steps: 30);
        Execute(run, new Events());
        byte[] expected = Hash("run", 30, "model.safetensors");
        var back = new RunOptions { Resume = "run/checkpoints/step-00000010" };
        Assert.Contains("2 checkpoints newer than update 10", Refused(run, back), StringComparison.Ordinal);
        Execute(run, new Events(), back with { Overwrite = true });
        Assert.Equal(expected, Hash("run", 30, "model.safetensors"));
    }

    [Fact]
    public void A_mistake_in_the_configuration_does_not_cost_the_run_that_would_be_replaced()
    {
        RunConfig run = Config("run", steps: 10);
        Execute(run, new Events());
        var overwrite = new RunOptions { Overwrite = true };
        Assert.Contains("nosuch.jsonl", Refused(run with { Data = run.Data with { Sources = [new DataSource { FileName = "nosuch.jsonl" }] } }, overwrite), StringComparison.Ordinal);
        Assert.Contains("nosuch.model", Refused(run with { Tokenizer = new TokenizerConfig { Path = "nosuch.model" } }, overwrite), StringComparison.Ordinal);
        Assert.NotEmpty(new RunFolder(_folder["run"]).Checkpoints());
    }

    [Fact]
    public void A_second_run_needs_leave_to_replace_the_first()
    {
        RunConfig run = Config("run", steps: 10);
        Execute(run, new Events());
        Assert.Contains("--overwrite", Refused(run, new RunOptions()), StringComparison.Ordinal);
        Execute(run, new Events(), new RunOptions { Overwrite = true });
    }

    [Fact]
    public void A_loss_that_is_not_finite_stops_the_run_with_step_batch_and_checkpoint()
    {
        RunConfig run = Config("run", steps: 40);
        run = run with { Schedule = run.Schedule with { MaxLearningRate = 1e30, MinLearningRate = 0, WarmupIterations = 12 } };
        var events = new Events();
        string message = Refused(run, new RunOptions(), events);
        Assert.Matches(@"at update \d+, whose batch begins at .*train\.jsonl line \d+; .*(step-\d+|no checkpoint)", message);
        Assert.Equal(RunOutcome.Failed, events.End);
    }

    [Fact]
    public void Live_tensors_do_not_grow_with_the_steps()
    {
        var counts = new List<long>();
        Execute(Config("run", steps: 40), new Events { OnStepDone = _ => counts.Add(TorchSharp.torch.Tensor.TotalCount) });
        Assert.True(counts[^1] <= counts[9], $"{counts[9]} tensors lived after step 10, {counts[^1]} after step 40");
    }

    [Fact]
    public void Prepared_tokens_train_to_the_same_bits()
    {
        RunConfig run = Config("text", steps: 10);
        Execute(run, new Events());
        var tokenizer = Tokenization.SentencePieceTokenizer.Load(new RunFolder(_folder["text"]).TokenizerFile);
        DataPreparation.Write(run.Data, _folder.Path, tokenizer, _folder["prepared"]);
        Execute(run with { Output = "tokens", Data = run.Data with { PreparedDir = "prepared" } }, new Events());
        Assert.Equal(Hash("text", 10, "model.safetensors"), Hash("tokens", 10, "model.safetensors"));
    }

    [Fact]
    public void What_prepared_tokens_lack_is_said_before_anything_is_written()
    {
        RunConfig run = Config("run", steps: 10);
        RunConfig prepared = run with { Data = run.Data with { PreparedDir = "nowhere" } };
        Assert.Contains("no prepared data", Refused(prepared, new RunOptions()), StringComparison.Ordinal);
        Execute(Config("text", steps: 10), new Events());
        var tokenizer = Tokenization.SentencePieceTokenizer.Load(new RunFolder(_folder["text"]).TokenizerFile);
        DataPreparation.Write(run.Data, _folder.Path, tokenizer, _folder["nowhere"]);
        ImmutableArray<DataSource> gone = [run.Data.Sources[0] with { FileName = "gone.jsonl" }];
        prepared = prepared with
        {
            Data = prepared.Data with { Sources = gone },
            Validation = new ValidationConfig { BigramBaseline = true, Sources = run.Data.Sources },
        };
        Assert.Contains("bigram_baseline counts the training text itself", Refused(prepared, new RunOptions()), StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["run"]));
    }

    [Fact]
    public void Impossible_combinations_are_refused_before_anything_is_written()
    {
        RunConfig run = Config("run", steps: 10);
        Assert.Contains("model.vocab_size is 300", Refused(run with { Model = run.Model with { VocabSize = 300 } }, new RunOptions()), StringComparison.Ordinal);
        Assert.Contains("max_context_length", Refused(run with { Output = "b", Model = run.Model with { MaxContextLength = 16 } }, new RunOptions()), StringComparison.Ordinal);
        Assert.False(Directory.Exists(new RunFolder(_folder["b"]).CheckpointsFolder));
    }

    [Fact]
    public void Products_in_eight_bits_are_refused_on_the_CPU()
    {
        RunConfig config = Config("run", steps: 10);
        string message = Refused(config with { Trainer = config.Trainer with { Precision = Precision.Bf16, Fp8Products = true } }, new RunOptions());
        Assert.Contains("trainer.fp8_products", message, StringComparison.Ordinal);
        Assert.Contains("--device cuda", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_that_is_not_there_is_named()
    {
        Assert.SkipWhen(TorchSharp.torch.cuda.is_available(), "this machine has a CUDA device");
        Assert.Contains("CUDA", Refused(Config("run", steps: 10), new RunOptions { Device = "cuda" }), StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["run"]));
    }

    RunConfig Config(string output, int steps) => new()
    {
        Output = output,
        Seed = 3,
        Model = new ModelConfig
        {
            NumTransformerLayers = 2,
            ModelDim = 32,
            HeadDim = 8,
            QkvMultipliers = (0.5, 1.0),
            NumGqaGroups = 2,
            FfnMultipliers = (1.0, 2.0),
            FfnDimDivisor = 16,
            NormalizeQkProjections = true,
            ShareInputOutputLayers = true,
            VocabSize = 384,
            MaxContextLength = 32,
        },
        Tokenizer = new TokenizerConfig { Train = new TokenizerTrainingConfig { VocabSize = 320 } },
        Data = new DataConfig { Sources = [new DataSource { FileName = "train.jsonl" }], SequenceLength = 32, Mode = DataMode.Packing },
        Validation = new ValidationConfig { Sources = [new DataSource { FileName = "validation.jsonl" }], Every = 25, BigramBaseline = true },
        Schedule = new ScheduleConfig { MaxLearningRate = 0.01, MinLearningRate = 0.001, WarmupIterations = 5 },
        Trainer = new TrainerConfig { Steps = steps, MicroBatch = 4, LogEvery = 10 },
        Checkpoints = new CheckpointConfig { Every = 10, KeepLast = 4, AverageLast = 4 },
    };

    RunResult Execute(RunConfig run, Events events, RunOptions? options = null, CancellationToken cancel = default)
    {
        // Events of every step are wanted where a test acts on them.
        run = events.OnStepDone is null ? run : run with { Trainer = run.Trainer with { LogEvery = 1 } };
        using var pretraining = new PretrainRun(run, (options ?? new RunOptions()) with { BaseDirectory = _folder.Path }, events, cancel);
        return pretraining.Execute(cancel);
    }

    string Refused(RunConfig run, RunOptions options, Events? events = null) => Assert.Throws<OpenElmException>(() => Execute(run, events ?? new Events(), options)).Message;

    byte[] Hash(string output, long step, string file) => XxHash3.Hash(File.ReadAllBytes(Path.Combine(new RunFolder(_folder[output]).CheckpointFolder(step), file)));

    // The logged losses, whichever interval they were logged at: the values of the last step of the run.
    (double, double) Steps(string output) => MetricsLog.Read(new RunFolder(_folder[output]).MetricsFile).Steps[^1] is var last ? (last.LearningRate, last.GradientNorm) : default;

    sealed class Events : IRunObserver
    {
        public List<StepMetrics> Steps { get; } = [];

        public List<ValidationMetrics> Validations { get; } = [];

        public List<string> Messages { get; } = [];

        public int Checkpoints { get; private set; }

        public int Samples { get; private set; }

        public RunOutcome? End { get; private set; }

        public Action<long>? OnStepDone { get; init; }

        public void OnStep(StepMetrics step)
        {
            Steps.Add(step);
            OnStepDone?.Invoke(step.Step);
        }

        public void OnValidation(ValidationMetrics validation) => Validations.Add(validation);

        public void OnCheckpoint(CheckpointSaved checkpoint) => Checkpoints++;

        public void OnSample(GeneratedSample sample) => Samples++;

        public void OnMessage(string message) => Messages.Add(message);

        public void OnEnd(RunEnd end) => End = end.Outcome;
    }
}
