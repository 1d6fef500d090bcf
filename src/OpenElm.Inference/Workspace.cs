using OpenElm.Configuration;
using OpenElm.Inference.Kernels;
using OpenElm.Inference.Memory;
using OpenElm.Inference.Tiles;

namespace OpenElm.Inference;

/// <summary>The buffers of a forward pass, shared by all layers. Widths are padded to whole tiles.</summary>
internal sealed unsafe class Workspace : IDisposable
{
    readonly NativeFloats _activations;
    readonly NativeFloats? _lowRank;

    /// <summary>Allocates.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="rows">Tokens that go through the layers together.</param>
    /// <param name="parts">Threads.</param>
    /// <param name="kernels">The kernel set.</param>
    /// <param name="rank">The largest rank of adapters; 0 without any.</param>
    public Workspace(OpenElmConfig config, int rows, int parts, CpuKernels kernels, int rank)
    {
        int headDim = config.HeadDim, widest = Math.Max(config.ModelDim, config.Layers.Max(layer => Math.Max(layer.FfnDim, layer.QueryHeads * headDim)));
        Rows = rows;
        X = new Buffer(rows, config.ModelDim);
        Qkv = new Buffer(rows, config.Layers.Max(layer => layer.QueryHeads + (2 * layer.KvHeads)) * headDim);
        Heads = new Buffer(rows, config.Layers.Max(layer => layer.QueryHeads) * headDim);
        Gate = new Buffer(rows, config.Layers.Max(layer => layer.FfnDim));
        Up = new Buffer(rows, config.Layers.Max(layer => layer.FfnDim));
        Logits = new Buffer(1, config.VocabSize);
        Normed = new Buffer(parts, config.ModelDim);
        long bytes = Enum.GetValues<ActivationForm>().Max(form => ActivationRows.StrideOf(form, widest));
        _activations = new NativeFloats(checked(rows * bytes / sizeof(float)));
        int queryHeads = config.Layers.Max(layer => layer.QueryHeadsPerKvHead);
        if (rank > 0)
        {
            _lowRank = new NativeFloats(checked(rows * ActivationRows.StrideOf(ActivationForm.F32, rank) / sizeof(float)));
            AdapterInput = new Buffer(rows, config.ModelDim);
            Product = new Buffer(rows, config.ModelDim);
        }

        Attention = [.. Enumerable.Range(0, parts).Select(_ => new BlockedAttention(headDim, queryHeads, kernels.Products))];
    }

    /// <summary>Tokens that go through the layers together.</summary>
    public int Rows { get; }

    /// <summary>[rows, modelDim]: the residual stream.</summary>
    public Buffer X { get; }

    /// <summary>[rows, (queryHeads + 2 · kvHeads) · headDim].</summary>
    public Buffer Qkv { get; }

    /// <summary>[rows, queryHeads · headDim]: attention before its output projection.</summary>
    public Buffer Heads { get; }

    /// <summary>[rows, ffnDim].</summary>
    public Buffer Gate { get; }

    /// <summary>[rows, ffnDim].</summary>
    public Buffer Up { get; }

    /// <summary>[1, vocab]: logits whose number is no multiple of 16.</summary>
    public Buffer Logits { get; }

    /// <summary>[parts, modelDim]: a normalised row of each thread.</summary>
    public Buffer Normed { get; }

    /// <summary>[rows, modelDim]: the normalised rows as floats, for adapters; null without any.</summary>
    public Buffer? AdapterInput { get; }

    /// <summary>[rows, modelDim]: a product that is scaled before it is added to the residual stream; null without adapters.</summary>
    public Buffer? Product { get; }

    /// <summary>Attention's scratch of each thread.</summary>
    public BlockedAttention[] Attention { get; }

    /// <summary>The rows that the next product multiplies, in any form and width.</summary>
    /// <param name="form">The form.</param>
    /// <param name="columns">The width.</param>
    /// <returns>[rows, columns].</returns>
    public ActivationRows Activations(ActivationForm form, int columns) => new(form, (nint)_activations.Pointer, ActivationRows.StrideOf(form, columns));

    /// <summary>A·x of an adapter, between its two products.</summary>
    /// <param name="rank">The width.</param>
    /// <returns>[rows, rank].</returns>
    public ActivationRows LowRank(int rank) => new(ActivationForm.F32, (nint)_lowRank!.Pointer, ActivationRows.StrideOf(ActivationForm.F32, rank));

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable? buffer in new IDisposable?[] { X, Qkv, Heads, Gate, Up, Logits, Normed, AdapterInput, Product, _activations, _lowRank }.Concat(Attention))
        {
            buffer?.Dispose();
        }
    }

    /// <summary>Rows of floats.</summary>
    internal sealed class Buffer : IDisposable
    {
        readonly NativeFloats _floats;

        public Buffer(int rows, int columns)
        {
            Stride = (columns + 15L) & ~15L;
            _floats = new NativeFloats(checked(rows * Stride));
        }

        /// <summary>Floats from one row to the next.</summary>
        public long Stride { get; }

        /// <summary>The first float.</summary>
        public float* Pointer => _floats.Pointer;

        /// <summary>A row.</summary>
        /// <param name="row">From 0.</param>
        /// <param name="columns">Its width.</param>
        /// <returns>[columns].</returns>
        public Span<float> Row(int row, int columns) => _floats.Slice(row * Stride, columns);

        /// <inheritdoc/>
        public void Dispose() => _floats.Dispose();
    }
}
