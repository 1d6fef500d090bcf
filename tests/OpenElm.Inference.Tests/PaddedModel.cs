using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Inference.Tests;

/// <summary>
/// A tiny model folder with Mistral's tokenizer (32000 pieces) and 32128 rows, whose 128 padding rows have such large
/// weights that they would win every choice. One is opened for all tests.
/// </summary>
public sealed class PaddedModel : IDisposable
{
    public const int Pieces = 32000, Rows = 32128;

    readonly TemporaryFolder _folder = new();

    public PaddedModel()
    {
        var config = new OpenElmConfig
        {
            VocabSize = Rows,
            MaxContextLength = 64,
            RopeMaxLength = 96,
            NumTransformerLayers = 2,
            ModelDim = 16,
            HeadDim = 8,
            FfnMultipliers = 2.0,
            FfnDimDivisor = 8,
            ShareInputOutputLayers = true,
        };
        ModelContent content = RandomModel.Create(config, 3);
        Dictionary<string, ReadOnlyMemory<float>> weights = TestModels.Weights(content);
        float[] embedding = weights[TensorNames.Embedding].ToArray();
        foreach (ref float value in embedding.AsSpan(Pieces * config.ModelDim))
        {
            value *= 1000;
        }

        weights[TensorNames.Embedding] = embedding;
        ModelFolderWriter.Write(_folder["model"], content with
        {
            Weights = [.. TensorShapes.Of(config).Select(shape => TensorSource.Of(shape.Name, shape.Shape, weights[shape.Name]))],
            Tokenizer = File.ReadAllBytes(Path.Combine(RepositoryFiles.Root, "samples", "tokenizer", "mistral", "tokenizer.model")),
        });
        Text = TextModel.Load(_folder["model"]);
    }

    public TextModel Text { get; }

    public string Folder => _folder["model"];

    public void Dispose()
    {
        Text.Dispose();
        _folder.Dispose();
    }
}
