using OpenElm.Configuration;
using OpenElm.Inference.Kernels;

namespace OpenElm.Inference.Threading;

/// <summary>Causal attention over the cache, split over (position, query head).</summary>
/// <param name="kernels">The kernel set.</param>
/// <param name="state">The sequence.</param>
internal sealed class AttentionJob(CpuKernels kernels, SequenceState state) : SplitJob
{
    const long WorthSplitting = 50_000;

    LayerShape _shape;
    int _layer, _headDim, _seq;

    /// <summary>Heads = softmax(Q · Kᵀ / √headDim, causal) · V for the newest positions, whose keys and values are in the cache.</summary>
    /// <param name="team">The threads.</param>
    /// <param name="layer">The layer.</param>
    /// <param name="shape">Its widths.</param>
    /// <param name="headDim">Width of a head.</param>
    /// <param name="seq">How many positions; the first is the state's length.</param>
    public void Attend(ThreadTeam team, int layer, LayerShape shape, int headDim, int seq)
    {
        (_layer, _shape, _headDim, _seq) = (layer, shape, headDim, seq);
        team.Run(this, split: (long)seq * shape.QueryHeads * headDim * (state.Length + seq) >= WorthSplitting);
    }

    /// <inheritdoc/>
    public override void Run(int part, int parts)
    {
        int rowWidth = (_shape.QueryHeads + (2 * _shape.KvHeads)) * _headDim;

        // Interleaved, because later positions see more keys.
        for (int i = part; i < _seq * _shape.QueryHeads; i += parts)
        {
            (int t, int head) = (i / _shape.QueryHeads, i % _shape.QueryHeads);
            int kvHead = head / _shape.QueryHeadsPerKvHead;
            int visible = state.Length + t + 1; // causal, aligned at the bottom right: the last new token sees everything
            kernels.Attention(
                state.Qkv.Slice(((long)t * rowWidth) + (head * _headDim), _headDim),
                state.Cache.Keys(_layer, kvHead, visible),
                state.Cache.Values(_layer, kvHead, visible),
                state.Scores.Slice((long)part * state.Capacity, visible),
                state.Heads.Slice((long)i * _headDim, _headDim));
        }
    }
}
