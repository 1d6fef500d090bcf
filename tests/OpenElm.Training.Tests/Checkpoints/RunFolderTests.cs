using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;

namespace OpenElm.Training.Tests.Checkpoints;

public sealed class RunFolderTests
{
    static readonly OpenElmConfig Tiny = new() { VocabSize = 8, NumTransformerLayers = 1, ModelDim = 8, HeadDim = 4, FfnDimDivisor = 4, ShareInputOutputLayers = true };

    [Fact]
    public void State_and_files_survive_and_are_found_whole()
    {
        using var folder = new TemporaryFolder();
        var run = new RunFolder(folder.Path);
        TrainingCheckpoint written = Write(run, 20, 3.5);
        TrainingCheckpoint? found = run.LastGood(Assert.Fail);
        Assert.Equal(written, found);
        Assert.Equal(State(20, 3.5).ToJson(), found!.ReadState().ToJson());
        using ModelFolder model = ModelFolder.Open(found.Path);
        Assert.Equal(Tiny, model.Config);
    }

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("trainer/optimizer.safetensors")]
    [InlineData("trainer/state.json")]
    [InlineData("manifest.json")]
    public void A_damaged_checkpoint_is_passed_over_with_a_warning(string file)
    {
        using var folder = new TemporaryFolder();
        var run = new RunFolder(folder.Path);
        TrainingCheckpoint good = Write(run, 10, null);
        string path = Path.Combine(Write(run, 20, null).Path, file);
        byte[] bytes = File.ReadAllBytes(path);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(path, bytes);

        var warnings = new List<string>();
        Assert.Equal(good, run.LastGood(warnings.Add));
        // A flipped bit in the manifest shows as a damaged manifest or as a file that is not what it says.
        Assert.Contains(file == "manifest.json" ? "passed over" : file.Split('/')[^1], Assert.Single(warnings), StringComparison.Ordinal);

        File.Delete(path);
        Assert.Equal(good, run.LastGood(_ => { }));
    }

    [Fact]
    public void Pruning_keeps_the_newest_and_the_best_and_clears_what_a_killed_run_left()
    {
        using var folder = new TemporaryFolder();
        var run = new RunFolder(folder.Path);
        double?[] losses = [3, 1, 2, null, 5, 4];
        for (int i = 0; i < losses.Length; i++)
        {
            Write(run, (i + 1) * 10, losses[i]);
        }

        Directory.CreateDirectory(run.CheckpointFolder(70) + ".123.partial");
        run.Prune(new CheckpointConfig { KeepLast = 2, KeepBest = 2, AverageLast = 2 });
        Assert.Equal([20, 30, 50, 60], run.Checkpoints().Select(entry => entry.Step));
        Assert.Equal(4, Directory.GetDirectories(run.CheckpointsFolder).Length);
    }

    [Fact]
    public void Another_form_is_refused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["state.json"], (State(1, null) with { Format = 99 }).ToJson());
        Assert.Contains("form 99", Assert.Throws<OpenElmException>(() => TrainingState.Read(folder["state.json"])).Message, StringComparison.Ordinal);
        File.WriteAllText(folder["state.json"], "{}");
        Assert.Contains("state.json", Assert.Throws<OpenElmException>(() => TrainingState.Read(folder["state.json"])).Message, StringComparison.Ordinal);
    }

    static TrainingCheckpoint Write(RunFolder run, long step, double? validationLoss) => TrainingCheckpoint.Write(
        run.CheckpointFolder(step),
        path => ModelFolderWriter.WriteInto(path, new ModelContent(Tiny, [.. TensorShapes.Of(Tiny).Select(t => TensorSource.Of(t.Name, t.Shape, new float[t.Elements]))])),
        [TensorSource.Of("exp_avg.norm.weight", [8], new float[8])],
        ema: null,
        State(step, validationLoss),
        "output: x\n");

    static TrainingState State(long step, double? validationLoss) => new()
    {
        Format = TrainingState.CurrentFormat,
        Step = step,
        TokensSeen = step * 100,
        TrainedSeconds = 1.5,
        Data = JsonDocument.Parse(PositionJson.Value).RootElement,
        ValidationLoss = validationLoss,
        Interval = true,
        Identity = "model: x",
        Versions = new Dictionary<string, string> { ["openelm"] = "0" },
    };

    // A real position, as a stream hands it out.
    static readonly Lazy<string> PositionJson = new(() =>
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a.jsonl"], """{"text": "some words to read"}""");
        var tokenizer = Tokenization.SentencePieceTokenizer.Load(Path.Combine(RepositoryFiles.Root, "samples/tokenizer/mistral/tokenizer.model"));
        using var stream = new BatchStream(
            new DataConfig { Sources = [new DataSource { FileName = "a.jsonl" }], SequenceLength = 8, Mode = DataMode.Packing }, folder.Path, tokenizer, 2);
        stream.Next();
        return stream.Position.ToJson();
    });
}
