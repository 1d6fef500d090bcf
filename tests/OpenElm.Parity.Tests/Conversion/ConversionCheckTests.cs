using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;
using OpenElm.Verification.Conversion;

namespace OpenElm.Parity.Tests.Conversion;

/// <summary>Conversions pass where nothing is wrong, and faults that converters make are refused.</summary>
public sealed class ConversionCheckTests : IDisposable
{
    // Rows of every matrix are multiples of 256; the last layer's out_proj is square.
    static readonly OpenElmConfig Config = new()
    {
        VocabSize = 150,
        MaxContextLength = 64,
        NumTransformerLayers = 3,
        ModelDim = 256,
        HeadDim = 64,
        QueryHeadsPerKvHead = 2,
        QkvMultipliers = 1.0,
        FfnMultipliers = (1.0, 2.0),
        NormalizeQkProjections = true,
        ShareInputOutputLayers = true,
    };

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<Fault, DType> FaultsAndTypes()
    {
        var data = new TheoryData<Fault, DType>();
        foreach (Fault fault in Enum.GetValues<Fault>())
        {
            foreach (DType dtype in new[] { DType.F32, DType.BF16, DType.Q8_0, DType.Q4_0 })
            {
                data.Add(fault, dtype);
            }
        }

        return data;
    }

    [Theory, MemberData(nameof(FaultsAndTypes))]
    public void A_fault_in_one_layer_keeps_the_result_from_its_place(Fault fault, DType dtype)
    {
        using Checkpoint source = Source();
        string path = _folder["result.gguf"];
        void Convert() => CheckpointWriter.Write(path, Faulty(source, fault, layer => layer == 2, dtype), CheckpointFormat.Gguf, check: written =>
            ConversionCheck.Run(source, CheckpointWriter.Content(source, CheckpointFormat.Gguf, dtype), written).RequirePassed());

        if (fault == Fault.None)
        {
            Convert();
            Assert.True(File.Exists(path));
            return;
        }

        Assert.Contains("was not kept", Assert.Throws<OpenElmException>(Convert).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(path));
        Assert.Equal(["faulty", "source"], Directory.GetFileSystemEntries(_folder.Path).Select(Path.GetFileName).Order()); // no rest
    }

    // The logits alone, without the comparison of weights and architectures. Four bits hide faults from them that the weights show.
    [Theory, MemberData(nameof(FaultsAndTypes))]
    public void Logits_tell_a_fault_in_every_layer(Fault fault, DType dtype)
    {
        using Checkpoint source = Source();
        CheckpointWriter.Write(_folder["result.gguf"], Faulty(source, fault, _ => true, dtype), CheckpointFormat.Gguf);
        using OpenElmModel before = OpenElmModel.Load(_folder["source"]), after = OpenElmModel.Load(_folder["result.gguf"]);
        LogitErrors errors = ProbeLogits.Of(before).Compare(after);
        double allowed = ConversionAllowance.Of(dtype).RelativeError;
        if (fault == Fault.None)
        {
            Assert.InRange(errors.RelativeError, 0, allowed);
            Assert.True(dtype == DType.F32 ? errors is { MaxError: 0, Top1Agreement: 1 } : errors.MaxError >= errors.MeanError && errors.MeanError > 0);
            return;
        }

        bool shows = dtype == DType.F32 || (fault != Fault.RopeBaseChanged && dtype is DType.BF16 or DType.Q8_0) || fault is Fault.MatrixTransposed or Fault.HeadsSplitByGroup;
        Assert.True(errors.RelativeError > allowed || !shows, errors.ToString());
    }

    [Fact]
    public void Without_running_the_models_weights_and_architecture_are_compared()
    {
        using Checkpoint source = Source();
        ModelContent content = CheckpointWriter.Content(source, CheckpointFormat.HuggingFace, null);
        ModelFolderWriter.Write(_folder["good"], content);
        ConversionReport good = ConversionCheck.Run(source, content, _folder["good"], runsModels: false);
        Assert.True(good is { Passed: true, Logits: null, WorstWeight.RelativeError: 0 });
        ModelFolderWriter.Write(_folder["bad"], content.With(Fault.GateAndUpSwapped, layer => layer == 1));
        ConversionReport bad = ConversionCheck.Run(source, content, _folder["bad"], runsModels: false);
        Assert.Equal((false, "layers.1.ffn.proj_1.weight"), (bad.Passed, bad.WorstWeight!.Value.Weight));
        ModelFolderWriter.Write(_folder["other"], content.With(Fault.RopeBaseChanged, _ => false));
        Assert.Equal(["rope_freq_constant is 10500 instead of 10000"], ConversionCheck.Run(source, content, _folder["other"], runsModels: false).Differences);
    }

    ModelContent Faulty(Checkpoint source, Fault fault, Func<int, bool> layers, DType dtype)
    {
        ModelFolderWriter.Write(_folder["faulty"], ModelConversion.Content(source).With(fault, layers));
        _faulty?.Dispose();
        _faulty = Checkpoint.Open(_folder["faulty"]);
        return CheckpointWriter.Content(_faulty, CheckpointFormat.Gguf, dtype);
    }

    Checkpoint? _faulty;

    Checkpoint Source()
    {
        ModelContent content = RandomModel.Create(Config, 1);
        var random = new Random(2);
        ModelFolderWriter.Write(_folder["source"], content with
        {
            Weights = [.. content.Weights.Select(weight => weight.Shape.Length > 1 ? weight
                : TensorSource.Of(weight.Name, weight.Shape, Enumerable.Range(0, (int)weight.Shape[0]).Select(_ => 0.7f + (0.6f * random.NextSingle())).ToArray()))],
        });
        return Checkpoint.Open(_folder["source"]);
    }
}
