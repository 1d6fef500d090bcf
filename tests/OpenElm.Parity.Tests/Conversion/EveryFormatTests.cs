using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Verification.Conversion;

namespace OpenElm.Parity.Tests.Conversion;

/// <summary>From every format that is read to every format that is written, with the check that the command runs.</summary>
public sealed class EveryFormatTests : IDisposable
{
    // One of CoreNet's built-in architectures, since Apple's MLX folders name one.
    static readonly OpenElmConfig Config = NamedConfigs.Get("gpt-test") with { VocabSize = 60 };

    static readonly (string Name, CheckpointFormat Format, DType? Type)[] Written =
    [
        ("hf", CheckpointFormat.HuggingFace, DType.F32),
        ("hf-bf16", CheckpointFormat.HuggingFace, DType.BF16),
        ("hf-fp16", CheckpointFormat.HuggingFace, DType.F16),
        ("gguf", CheckpointFormat.Gguf, DType.F32),
        ("gguf-bf16", CheckpointFormat.Gguf, DType.BF16),
        ("gguf-q8_0", CheckpointFormat.Gguf, DType.Q8_0),
        ("gguf-q4_0", CheckpointFormat.Gguf, DType.Q4_0),
        ("mlx", CheckpointFormat.Mlx, DType.F16),
        ("mlx-4", CheckpointFormat.Mlx, DType.Affine4x64),
        ("mlx-8", CheckpointFormat.Mlx, DType.Affine8x32),
        ("mlx-lm-4", CheckpointFormat.MlxLm, DType.Affine4x32),
    ];

    readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Names => [.. Written.Select(format => format.Name)];

    public void Dispose() => _folder.Dispose();

    [Theory, MemberData(nameof(Names))]
    public void A_model_goes_on_to_every_format(string name)
    {
        ModelFolderWriter.Write(_folder["random"], RandomModel.Create(Config, 4));
        (_, CheckpointFormat first, DType? type) = Written.Single(format => format.Name == name);
        Convert(_folder["random"], _folder["first"], first, type);
        foreach ((string next, CheckpointFormat format, DType? nextType) in Written)
        {
            ConversionReport report = Convert(_folder["first"], _folder[next], format, nextType);
            Assert.True(report.Passed && (nextType != DType.F32 || report.WorstWeight!.Value.RelativeError == 0), $"{name} to {next}: {report}");
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Kept_types_change_nothing(string name)
    {
        ModelFolderWriter.Write(_folder["random"], RandomModel.Create(Config, 4));
        (_, CheckpointFormat first, DType? type) = Written.Single(format => format.Name == name);
        Convert(_folder["random"], _folder["first"], first, type);
        foreach (CheckpointFormat format in new[] { CheckpointFormat.HuggingFace, CheckpointFormat.Gguf, CheckpointFormat.Mlx, CheckpointFormat.MlxLm })
        {
            ConversionReport report = Convert(_folder["first"], _folder[format.ToString()], format, null);
            Assert.Equal(0, report.WorstWeight!.Value.RelativeError);
            Assert.True(report.Logits!.MaxError == 0 || type!.Value.IsBlocked(), $"{name} to {format}: {report}"); // the runtime has kernels of their own for blocks
        }
    }

    [Theory]
    [InlineData("training.pt", CheckpointFormat.HuggingFace)]
    [InlineData("training.pt", CheckpointFormat.Gguf)]
    [InlineData("wrapped.pt", CheckpointFormat.MlxLm)]
    public void CoreNets_checkpoints_are_converted(string file, CheckpointFormat format)
    {
        ConversionReport report = Convert(Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Tests", "Data", "torch", file), _folder["result"], format, DType.F32);

        // wrapped.pt holds bfloat16: some kernel sets round the activations that it is multiplied with, and not those of its copy in floats.
        Assert.InRange(report.Logits!.RelativeError, 0, file == "training.pt" ? 0 : ConversionAllowance.Of(DType.BF16).RelativeError);
        using Checkpoint result = Checkpoint.Open(_folder["result"]);
        Assert.Equal(11, result.Config.VocabSize);
    }

    [Fact]
    public void Cut_rows_of_the_vocabulary_are_left_out_of_the_comparison()
    {
        ModelFolderWriter.Write(_folder["random"], RandomModel.Create(Config, 4));
        using Checkpoint source = Checkpoint.Open(_folder["random"]);
        ModelContent content = ModelConversion.WithVocabulary(CheckpointWriter.Content(source, CheckpointFormat.Gguf, DType.BF16), 41);
        CheckpointWriter.Write(_folder["cut"], content, CheckpointFormat.Gguf, check: written => ConversionCheck.Run(source, content, written).RequirePassed());
        using Checkpoint cut = Checkpoint.Open(_folder["cut"]);
        Assert.Equal(41, cut.Config.VocabSize);
    }

    static ConversionReport Convert(string from, string to, CheckpointFormat format, DType? type)
    {
        using Checkpoint source = Checkpoint.Open(from);
        ModelContent content = CheckpointWriter.Content(source, format, type);
        ConversionReport? report = null;
        CheckpointWriter.Write(to, content, format, check: written => (report = ConversionCheck.Run(source, content, written)).RequirePassed());
        return report!;
    }
}
