using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>CoreNet's weight names ↔ llama.cpp's; gate and up are two tensors there.</summary>
internal static class GgufNames
{
    public const string Embedding = "token_embd.weight", FinalNorm = "output_norm.weight";

    static readonly Dictionary<string, string[]> Parts = new()
    {
        ["attn_norm"] = ["attn_norm"],
        ["attn.qkv_proj"] = ["attn_qkv"],
        ["attn.q_norm"] = ["attn_q_norm"],
        ["attn.k_norm"] = ["attn_k_norm"],
        ["attn.out_proj"] = ["attn_output"],
        ["ffn_norm"] = ["ffn_norm"],
        ["ffn.proj_1"] = ["ffn_gate", "ffn_up"],
        ["ffn.proj_2"] = ["ffn_down"],
    };

    /// <summary>The tensors that hold a weight, in the order of its rows.</summary>
    /// <param name="coreNet">A weight of a tied model.</param>
    /// <returns>One name, or gate and up.</returns>
    public static ImmutableArray<string> Of(string coreNet)
    {
        if (coreNet is TensorNames.Embedding)
        {
            return [Embedding];
        }

        if (coreNet is TensorNames.FinalNorm)
        {
            return [FinalNorm];
        }

        string[] parts = coreNet.Split('.', 3); // layers, index, part.weight
        return [.. Parts[parts[2][..^".weight".Length]].Select(part => $"blk.{parts[1]}.{part}.weight")];
    }
}
