using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>
/// What a step with LayerNorm reads in the place of each norm's weights n: these, and behind them Σ_j W_ij n_j of every row i of the matrix that follows. The step multiplies
/// rows with x · n, and LayerNorm's product is scale · (Σ_j W_ij n_j x_j − mean · Σ_j W_ij n_j).
/// </summary>
internal sealed class StepNorms : IDisposable
{
    readonly int _modelDim;
    readonly Source[] _sources;
    readonly long[] _starts; // floats
    readonly DeviceMemory _memory;

    public StepNorms(OpenElmConfig config, DeviceWeights weights)
    {
        _modelDim = config.ModelDim;
        _sources =
        [
            .. weights.Layers.SelectMany(layer => (Source[])
            [
                new(layer.AttnNorm, layer.QkvProj.Address, (layer.Shape.QueryHeads + (2 * layer.Shape.KvHeads)) * config.HeadDim, false),
                new(layer.FfnNorm, layer.Proj1.Address, (config.FfnWithGlu ? 2 : 1) * layer.Shape.FfnDim, config.FfnWithGlu),
            ]),
            new(weights.FinalNorm, weights.Head.Address, config.VocabSize, false),
        ];
        _starts = new long[_sources.Length + 1];
        for (int i = 0; i < _sources.Length; i++)
        {
            _starts[i + 1] = (_starts[i] + _modelDim + _sources[i].Rows + 3) / 4 * 4; // read by 16 bytes
        }

        _memory = new DeviceMemory(sizeof(float) * _starts[^1]);
        Layers = [.. weights.Layers.Select((layer, i) => layer with { AttnNorm = At(2 * i), FfnNorm = At((2 * i) + 1) })];
        FinalNorm = At(_sources.Length - 1);
    }

    /// <summary>The model's layers, with these norms.</summary>
    public IReadOnlyList<DeviceLayer> Layers { get; }

    /// <summary>The norm before the head.</summary>
    public nint FinalNorm { get; }

    /// <summary>Computes the sums.</summary>
    /// <param name="sumRows">The kernel.</param>
    /// <param name="stream">Where it runs.</param>
    public void Fill(Kernel sumRows, nint stream)
    {
        for (int i = 0; i < _sources.Length; i++)
        {
            Source source = _sources[i];
            DeviceMemory.Copy(source.Norm, At(i), sizeof(float) * _modelDim, stream);
            sumRows.Launch(stream, (source.Rows, 1), 32, source.Matrix, source.Norm, At(i) + (sizeof(float) * _modelDim), source.IsGlued ? 1 : 0);
        }
    }

    public void Dispose() => _memory.Dispose();

    nint At(int which) => _memory.Address + (nint)(sizeof(float) * _starts[which]);

    readonly record struct Source(nint Norm, nint Matrix, int Rows, bool IsGlued);
}
