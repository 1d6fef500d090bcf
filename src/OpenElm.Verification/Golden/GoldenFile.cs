using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Verification.Golden;

/// <summary>An open golden file with its entry in <c>golden.json</c>.</summary>
/// <param name="Name">The file, without its ending.</param>
/// <param name="Kind">What it holds.</param>
/// <param name="Description">Its entry.</param>
/// <param name="Tensors">Its tensors.</param>
internal sealed record GoldenFile(string Name, string Kind, JsonElement Description, SafetensorsFile Tensors) : IDisposable
{
    public OpenElmConfig Config()
    {
        OpenElmConfig config = OpenElmConfigJson.Read(Description.GetProperty("config"), $"golden.json, {Name}", strict: true);
        config = (config with
        {
            VocabSize = Integer("vocab_size"),
            MaxContextLength = Integer("max_context_length"),
            RopeMaxLength = Math.Max(config.RopeMaxLength, Integer("max_context_length")),
            RmsNormEps = Number("rms_norm_eps", config.RmsNormEps),
        }).Validated();
        if (Description.TryGetProperty("layers", out JsonElement layers) && !config.Layers.SequenceEqual(layers.EnumerateArray().Select(Shape)))
        {
            throw new OpenElmException($"golden.json, {Name}: its layers differ from those that its configuration implies.");
        }

        return config;
    }

    public int Integer(string key) => Description.GetProperty(key).GetInt32();

    public double Number(string key, double? missing = null) =>
        Description.TryGetProperty(key, out JsonElement value) ? value.GetDouble() : missing ?? throw new KeyNotFoundException(key);

    public double Scalar(string key) => Tensors[key] is { DType: DType.F64 } tensor ? tensor.Doubles[0] : Tensors[key].Floats[0];

    public double[] Numbers(string key) => Tensors[key].Doubles.ToArray();

    public GoldenIds Ids(string key) => new(Tensors[key].Shape, Tensors[key].Longs.ToArray());

    public GoldenTensor Tensor(string key) => new(Tensors[key].Shape, Tensors[key].ToFloats());

    /// <summary>All tensors of a group, by the name behind the prefix.</summary>
    public ImmutableDictionary<string, GoldenTensor> Group(string prefix) => Tensors.Tensors.Keys
        .Where(key => key.StartsWith(prefix, StringComparison.Ordinal))
        .ToImmutableDictionary(key => key[prefix.Length..], Tensor);

    public void Dispose() => Tensors.Dispose();

    static LayerShape Shape(JsonElement layer) => new(
        layer.GetProperty("query_heads").GetInt32(), layer.GetProperty("kv_heads").GetInt32(), layer.GetProperty("ffn_dim").GetInt32());
}
