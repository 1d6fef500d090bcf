using OpenElm.Configuration;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>A weight and the gradient that belongs to it.</summary>
/// <param name="Value">Address of the weight.</param>
/// <param name="Gradient">Address of its gradient.</param>
internal readonly record struct WeightPair(nint Value, nint Gradient);

/// <summary>One decoder layer on the GPU: where its weights and gradients lie, and what its backward pass needs of its forward pass.</summary>
internal sealed class GpuLayer : IDisposable
{
    readonly GpuActivations _activations;

    /// <param name="config">The architecture.</param>
    /// <param name="number">Which layer.</param>
    /// <param name="tokens">Tokens of a batch.</param>
    /// <param name="types">Number formats.</param>
    /// <param name="device">The GPU.</param>
    /// <param name="activations">What its backward pass reads.</param>
    /// <param name="attention">Its attention.</param>
    /// <param name="weight">Finds a weight by its name.</param>
    public GpuLayer(OpenElmConfig config, int number, int tokens, GpuTypes types, Device device, GpuActivations activations, GpuAttention attention, Func<string, WeightPair> weight)
    {
        (Number, Shape, _activations, Attention) = (number, config.Layers[number], activations, attention);
        WeightPair Of(string part) => weight($"layers.{number}.{part}.weight");

        (AttnNorm, Qkv, QNorm, KNorm, Out) = (Of("attn_norm"), Of("attn.qkv_proj"), Of("attn.q_norm"), Of("attn.k_norm"), Of("attn.out_proj"));
        (FfnNorm, Proj1, Proj2) = (Of("ffn_norm"), Of("ffn.proj_1"), Of("ffn.proj_2"));
        AttnInput = DeviceBuffer.Empty(device, types.Residual, tokens, config.ModelDim);
    }

    public int Number { get; }

    public LayerShape Shape { get; }

    public WeightPair AttnNorm { get; }

    public WeightPair Qkv { get; }

    public WeightPair QNorm { get; }

    public WeightPair KNorm { get; }

    public WeightPair Out { get; }

    public WeightPair FfnNorm { get; }

    public WeightPair Proj1 { get; }

    public WeightPair Proj2 { get; }

    /// <summary>[tokens, modelDim]: the residual stream before attention.</summary>
    public DeviceBuffer AttnInput { get; }

    /// <summary>[tokens, modelDim]: the residual stream before the feed-forward network.</summary>
    public DeviceBuffer FfnInput => _activations.FfnInput;

    /// <summary>[tokens, queryHeads + 2 · kvHeads, headDim]: the product, then its gradient.</summary>
    public DeviceBuffer Heads => _activations.Heads;

    /// <summary>[tokens, queryHeads + kvHeads, headDim]: queries and keys after norm and RoPE.</summary>
    public DeviceBuffer Rotated => _activations.Rotated;

    /// <summary>[tokens, 2 · ffnDim]: gates and ups, then their gradient.</summary>
    public DeviceBuffer GateUp => _activations.GateUp;

    public GpuAttention Attention { get; }

    /// <summary>[batch, seq, queryHeads, headDim]: what attention gave; libtorch's memory.</summary>
    public Tensor? Attended { get; set; }

    /// <summary>Drops what attention keeps for the backward pass.</summary>
    public void ReleaseAttention()
    {
        Attention.Release();
        Attended?.Dispose();
        Attended = null;
    }

    public void Dispose()
    {
        ReleaseAttention();
        AttnInput.Dispose();
    }
}
