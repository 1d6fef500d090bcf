using OpenElm.Checkpoints;
using OpenElm.Configuration;

namespace OpenElm.Parity.Tests.Conversion;

/// <summary>What converters get wrong, made on purpose.</summary>
public enum Fault
{
    None,
    GateAndUpSwapped,
    HeadsSplitByGroup,
    RowsOfHeadsInterleaved,
    RopeBaseChanged,
    MatrixTransposed,
    NormsSwapped,
}

internal static class Faults
{
    /// <summary>A model with a fault in some layers.</summary>
    public static ModelContent With(this ModelContent content, Fault fault, Func<int, bool> layers)
    {
        OpenElmConfig config = fault == Fault.RopeBaseChanged ? content.Config with { RopeFreqConstant = 1.05 * content.Config.RopeFreqConstant } : content.Config;
        Dictionary<string, float[]> values = content.Weights.ToDictionary(weight => weight.Name, weight => weight.ToFloats());
        for (int i = 0; i < config.Layers.Length; i++)
        {
            if (layers(i))
            {
                Apply(fault, config, i, values);
            }
        }

        return content with { Config = config, Weights = [.. content.Weights.Select(weight => TensorSource.Of(weight.Name, weight.Shape, values[weight.Name]))] };
    }

    static void Apply(Fault fault, OpenElmConfig config, int layer, Dictionary<string, float[]> values)
    {
        string Name(string part) => TensorNames.Layer(layer, part);
        (int d, int h, LayerShape shape) = (config.ModelDim, config.HeadDim, config.Layers[layer]);
        float[] qkv = values[Name("attn.qkv_proj")], proj1 = values[Name("ffn.proj_1")], outProj = values[Name("attn.out_proj")];
        switch (fault)
        {
            case Fault.GateAndUpSwapped:
                values[Name("ffn.proj_1")] = [.. proj1[(proj1.Length / 2)..], .. proj1[..(proj1.Length / 2)]];
                break;
            case Fault.HeadsSplitByGroup: // query heads of a group, then its key, then its value, as some models store them
                int queries = shape.QueryHeadsPerKvHead;
                values[Name("attn.qkv_proj")] = [.. Enumerable.Range(0, shape.KvHeads).SelectMany(group =>
                    Enumerable.Range(group * queries, queries).Append(shape.QueryHeads + group).Append(shape.QueryHeads + shape.KvHeads + group))
                    .SelectMany(head => qkv[(head * h * d)..((head + 1) * h * d)])];
                break;
            case Fault.RowsOfHeadsInterleaved: // the other layout of RoPE
                values[Name("attn.qkv_proj")] = [.. Enumerable.Range(0, qkv.Length / d)
                    .Select(row => row / h < shape.QueryHeads + shape.KvHeads ? row - (row % h) + (row % h / 2) + (row % 2 * (h / 2)) : row)
                    .SelectMany(row => qkv[(row * d)..((row + 1) * d)])];
                break;
            case Fault.MatrixTransposed when shape.QueryHeads * h == d:
                values[Name("attn.out_proj")] = [.. Enumerable.Range(0, outProj.Length).Select(i => outProj[(i % d * d) + (i / d)])];
                break;
            case Fault.NormsSwapped:
                (values[Name("attn.q_norm")], values[Name("attn.k_norm")]) = (values[Name("attn.k_norm")], values[Name("attn.q_norm")]);
                break;
            default:
                break;
        }
    }
}
