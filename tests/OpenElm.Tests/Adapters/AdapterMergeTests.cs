using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Tests.Adapters;

public sealed class AdapterMergeTests : IDisposable
{
    static readonly OpenElmConfig Model = RandomAdapters.Model;

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Several_adapters_add_up_in_every_weight()
    {
        ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Model, 1));
        RandomAdapters.Write(_folder["one"], RandomAdapters.Paper(rank: 2));
        RandomAdapters.Write(_folder["two"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*ffn", Rank = 3, Alpha = 2, RsLora = true, Dora = true }] }, seed: 2);
        using Checkpoint model = Checkpoint.Open(_folder["model"]);
        using Adapter one = Adapter.Open(_folder["one"], Model), two = Adapter.Open(_folder["two"], Model);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(one, 0.5), new ScaledAdapter(two)]), []);

        using Checkpoint merged = Checkpoint.Open(_folder["merged"]);
        foreach (TensorShape shape in TensorShapes.Of(Model))
        {
            double[,]? expected = Expected(model, shape.Name, [(one, 0.5), (two, 1)]);
            float[] actual = merged.Weights[shape.Name].ToFloats(), w = model.Weights[shape.Name].ToFloats();
            if (expected is null)
            {
                Assert.Equal(w, actual); // norms
            }
            else
            {
                Assert.NotEqual(w, actual);
                Assert.InRange(RelativeError([.. expected.Cast<double>().Select(value => (float)value)], actual), 0, 1e-7);
            }
        }
    }

    // The head of a tied model reads the base embedding (openelm.md 8.2): merged, it needs a head of its own.
    [Fact]
    public void A_merged_embedding_unties_the_head()
    {
        ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Model, 1, DType.BF16));
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [new AdapterRule { Modules = "token", Rank = 2 }] });
        using Checkpoint model = Checkpoint.Open(_folder["model"]);
        using Adapter adapter = Adapter.Open(_folder["adapter"], Model);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter)]), []);
        using Checkpoint merged = Checkpoint.Open(_folder["merged"]);
        Assert.False(merged.Config.ShareInputOutputLayers);
        Assert.Equal(model.Weights[TensorNames.Embedding].ToFloats(), merged.Weights[TensorNames.Classifier].ToFloats());
        Assert.NotEqual(model.Weights[TensorNames.Embedding].ToFloats(), merged.Weights[TensorNames.Embedding].ToFloats());
        Assert.All(merged.Weights.Values, weight => Assert.Equal(DType.BF16, weight.Parts[0].DType));

        RandomAdapters.Write(_folder["linear"], new AdapterConfig { Rules = [new AdapterRule { Modules = "layers", Rank = 2 }] });
        using Adapter linear = Adapter.Open(_folder["linear"], Model);
        Assert.True(AdapterMerge.Content(model, [new ScaledAdapter(linear)]).Config.ShareInputOutputLayers);
    }

    [Theory]
    [InlineData(DType.Q8_0)]
    [InlineData(DType.Affine4x32)]
    public void Quantised_weights_merge_into_floats(DType dtype)
    {
        OpenElmConfig config = (Model with { ModelDim = 64, HeadDim = 32, FfnDimDivisor = 32 }).Validated();
        ModelFolderWriter.Write(_folder["floats"], RandomModel.Create(config, 1));
        bool isMlx = dtype == DType.Affine4x32;
        string quantised = _folder[isMlx ? "quantised" : "quantised.gguf"];
        CheckpointFormat format = isMlx ? CheckpointFormat.MlxLm : CheckpointFormat.Gguf;
        using (Checkpoint floats = Checkpoint.Open(_folder["floats"]))
        {
            CheckpointWriter.Write(quantised, CheckpointWriter.Content(floats, format, dtype), format);
        }

        using Checkpoint model = Checkpoint.Open(quantised);
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*proj_1", Rank = 2, Dora = true }] }, config);
        using Adapter adapter = Adapter.Open(_folder["adapter"], model.Config);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter)]), []);
        using Checkpoint merged = Checkpoint.Open(_folder["merged"]);
        const string Changed = "layers.0.ffn.proj_1.weight", Same = "layers.0.ffn.proj_2.weight";
        Assert.Equal(model.Weights[Same].ToFloats(), merged.Weights[Same].ToFloats());
        Assert.InRange(RelativeError([.. Expected(model, Changed, [(adapter, 1)])!.Cast<double>().Select(value => (float)value)], merged.Weights[Changed].ToFloats()), 0, 1e-6);
    }

    [Fact]
    public void Results_that_are_not_finite_are_refused_and_nothing_is_kept()
    {
        ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Model, 1, DType.F16));
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*0.ffn.proj_1", Rank = 2 }] });
        using Checkpoint model = Checkpoint.Open(_folder["model"]);
        using Adapter adapter = Adapter.Open(_folder["adapter"], Model);
        string Refusal(double scale, DType? type = null) => Assert.Throws<OpenElmException>(() => AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter, scale)], type), [])).Message;

        Assert.Contains("layers.0.ffn.proj_1.weight merged is not finite", Refusal(1e41), StringComparison.Ordinal);
        Assert.Contains("layers.0.ffn.proj_1.weight merged is not finite", Refusal(double.NaN, DType.F32), StringComparison.Ordinal);
        Assert.Contains("layers.0.ffn.proj_1.weight holds", Refusal(1e6), StringComparison.Ordinal); // too large for half precision
        Assert.False(Directory.Exists(_folder["merged"]));
        Assert.Equal(2, Directory.GetFileSystemEntries(_folder.Path).Length);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter, 1e6)], DType.BF16), []);
    }

    [Fact]
    public void Tokenizer_and_chat_template_are_kept_and_the_adapters_win()
    {
        ModelFolderWriter.Write(_folder["model"], RandomModel.Create(Model, 1) with { Tokenizer = new byte[] { 1, 2, 3 } });
        RandomAdapters.Write(_folder["adapter"], new AdapterConfig { Rules = [new AdapterRule { Modules = ".*0.ffn.proj_1", Rank = 2 }] });
        File.WriteAllText(_folder["model/chat_template.jinja"], "model's");
        File.WriteAllText(_folder["model/special_tokens_map.json"], "{}");
        File.WriteAllText(_folder["adapter/chat_template.jinja"], "adapter's");
        using Checkpoint model = Checkpoint.Open(_folder["model"]);
        using Adapter adapter = Adapter.Open(_folder["adapter"], Model);
        AdapterMerge.Write(_folder["merged"], AdapterMerge.Content(model, [new ScaledAdapter(adapter)]), [_folder["adapter"], _folder["model"]]);
        Assert.Equal("adapter's", File.ReadAllText(_folder["merged/chat_template.jinja"]));
        Assert.Equal("{}", File.ReadAllText(_folder["merged/special_tokens_map.json"]));
        Assert.Equal([1, 2, 3], File.ReadAllBytes(_folder["merged/tokenizer.model"]));
    }

    // openelm.md 8.2 in plain loops, each adapter against the frozen weight; null for weights that none changes.
    static double[,]? Expected(Checkpoint model, string name, IReadOnlyList<(Adapter Adapter, double Scale)> adapters)
    {
        float[] w = model.Weights[name].ToFloats();
        double[,]? merged = null;
        foreach ((Adapter adapter, double scale) in adapters)
        {
            if (adapter.Modules.FirstOrDefault(weights => weights.Module.WeightName == name) is not { } found)
            {
                continue;
            }

            (int rows, int columns) = ((int)model.Weights[name].Shape[0], (int)model.Weights[name].Shape[1]);
            merged ??= Fill(rows, columns, (r, c) => w[(r * columns) + c]);
            (float[] a, float[] b, int rank) = (found.A.ToFloats(), found.B.ToFloats(), found.Module.Rank);
            double Product(int o, int i) => Enumerable.Range(0, rank).Sum(k => (double)b[(o * rank) + k] * a[(k * found.Module.Inputs) + i]);

            for (int r = 0; r < rows; r++)
            {
                double[] change = [.. Enumerable.Range(0, columns).Select(c => found.Module.Scaling * scale * (found.Module.IsEmbedding ? Product(c, r) : Product(r, c)))];
                double[] sum = [.. change.Select((value, c) => w[(r * columns) + c] + value)];
                double gain = found.Magnitude is { } m ? m.ToFloats()[r] / Math.Sqrt(sum.Sum(value => value * value)) : 1;
                for (int c = 0; c < columns; c++)
                {
                    merged[r, c] += (gain * sum[c]) - w[(r * columns) + c];
                }
            }
        }

        return merged;
    }

    static double[,] Fill(int rows, int columns, Func<int, int, double> value)
    {
        double[,] matrix = new double[rows, columns];
        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < columns; c++)
            {
                matrix[r, c] = value(r, c);
            }
        }

        return matrix;
    }

    static double RelativeError(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        return Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum() / expected.Sum(e => (double)e * e));
    }
}
