using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>
/// Splits queries, keys and values, normalises queries and keys, and rotates them, in one pass over the product; only the
/// product is kept. Results are [batch, seq, heads, headDim] in memory, so that each row is written in order.
/// </summary>
internal sealed class SplitNormRotateFunction : GradientsFunction<SplitNormRotateFunction>
{
    const long Grain = 16;

    /// <summary>What one call works on.</summary>
    /// <param name="Layout">The position of each token.</param>
    /// <param name="Shape">The layer.</param>
    internal sealed record Call(SequenceLayout Layout, AttentionShape Shape)
    {
        public int QueryHeads => Shape.Shape.QueryHeads;

        public int KvHeads => Shape.Shape.KvHeads;

        public int HeadDim => Shape.HeadDim;

        public int Heads => QueryHeads + (2 * KvHeads);
    }

    /// <inheritdoc/>
    public override string Name => nameof(SplitNormRotateFunction);

    /// <summary>vars: qkv [batch, seq, heads · headDim], call, and perhaps two norms [headDim].</summary>
    /// <inheritdoc/>
    protected override unsafe List<Tensor> Results(autograd.AutogradContext ctx, object[] vars)
    {
        (var qkv, var call) = ((Tensor)vars[0], (Call)vars[1]);
        Tensor[] norms = [.. vars.Skip(2).Cast<Tensor>()];
        ctx.save_for_backward([qkv, .. norms]);
        ctx.save_data("call", call);
        (long batch, long seq, int headDim) = (qkv.size(0), qkv.size(1), call.HeadDim);
        Tensor New(int heads) => empty([batch, seq, heads, headDim], qkv.dtype);

        (Tensor q, Tensor k, Tensor v) = (New(call.QueryHeads), New(call.KvHeads), New(call.KvHeads));
        FloatRows source = new(qkv, call.Heads * headDim), toQ = new(q, call.QueryHeads * headDim), toK = new(k, call.KvHeads * headDim), toV = new(v, call.KvHeads * headDim);
        float[]? qNorm = norms is [var first, _] ? RmsNormFunction.Floats(first) : null, kNorm = norms is [_, var second] ? RmsNormFunction.Floats(second) : null;
        bool weightRounds = norms is [var norm, _] && norm.dtype == ScalarType.BFloat16;
        FloatRows cos = new(call.Layout.Cos, headDim / 2), sin = new(call.Layout.Sin, headDim / 2);
        RowLoop.For(batch * seq, Grain, (begin, end) =>
        {
            float[] input = source.Rounds ? RowBuffers.Take(0, source.Width) : [], output = source.Rounds ? RowBuffers.Take(1, source.Width) : [];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, input), c = cos.Read(row % call.Layout.Period, []), s = sin.Read(row % call.Layout.Period, []);
                Span<float> queries = toQ.Target(row, output);
                Heads(values[..queries.Length], queries, qNorm, c, s);
                toQ.Write(row, queries);
                Span<float> keys = toK.Target(row, output);
                Heads(values.Slice(queries.Length, keys.Length), keys, kNorm, c, s);
                toK.Write(row, keys);
                Span<float> copies = toV.Target(row, output);
                values[(queries.Length + keys.Length)..].CopyTo(copies);
                toV.Write(row, copies);
            }
        });
        return [q, k, v];

        void Heads(ReadOnlySpan<float> from, Span<float> to, float[]? weight, ReadOnlySpan<float> c, ReadOnlySpan<float> s)
        {
            for (int i = 0; i < from.Length; i += headDim)
            {
                ReadOnlySpan<float> head = from.Slice(i, headDim);
                Span<float> result = to.Slice(i, headDim);
                if (weight is null)
                {
                    head.CopyTo(result);
                }
                else
                {
                    RmsNormRow.Scale(head, RmsNormRow.InverseRms(head, call.Shape.Eps), weight, source.Rounds, result);
                    if (weightRounds)
                    {
                        BFloat16Rounding.Round(result);
                    }
                }

                Rotation.Apply(result, c, s, 1);
            }
        }
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, List<Tensor> outputGradients)
    {
        using DisposeScope scope = NewDisposeScope();
        var call = (Call)ctx.get_data("call");
        List<Tensor> saved = ctx.get_saved_variables();
        (Tensor qkv, Tensor[] norms) = (saved[0], [.. saved.Skip(1)]);
        (long batch, long seq, int headDim) = (qkv.size(0), qkv.size(1), call.HeadDim);
        Tensor dq = outputGradients[0].contiguous(), dk = outputGradients[1].contiguous(), dv = outputGradients[2].contiguous();
        Tensor gradient = empty_like(qkv);
        FloatRows source = new(qkv, call.Heads * headDim), target = new(gradient, call.Heads * headDim);
        FloatRows fromQ = new(dq, call.QueryHeads * headDim), fromK = new(dk, call.KvHeads * headDim), fromV = new(dv, call.KvHeads * headDim);
        float[]? qNorm = norms is [var first, _] ? RmsNormFunction.Floats(first) : null, kNorm = norms is [_, var second] ? RmsNormFunction.Floats(second) : null;
        PartialSums dqNorm = new(headDim), dkNorm = new(headDim);
        FloatRows cos = new(call.Layout.Cos, headDim / 2), sin = new(call.Layout.Sin, headDim / 2);
        RowLoop.ForParts(batch * seq, (part, begin, end) =>
        {
            float[] input = source.Rounds ? RowBuffers.Take(0, source.Width) : [], output = source.Rounds ? RowBuffers.Take(1, source.Width) : [], d = source.Rounds ? RowBuffers.Take(2, source.Width) : [];
            float[] turned = new float[headDim];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, input), c = cos.Read(row % call.Layout.Period, []), s = sin.Read(row % call.Layout.Period, []);
                Span<float> result = target.Target(row, output);
                (int queries, int keys) = (fromQ.Width, fromK.Width);
                Heads(values[..queries], fromQ.Read(row, d), result[..queries], qNorm, dqNorm[part], c, s, turned);
                Heads(values.Slice(queries, keys), fromK.Read(row, d), result.Slice(queries, keys), kNorm, dkNorm[part], c, s, turned);
                fromV.Read(row, d).CopyTo(result[(queries + keys)..]);
                target.Write(row, result);
            }
        });
        outputGradients.ForEach(tensor => tensor.Dispose());
        return norms is [var qWeight, var kWeight]
            ? BackwardResults.Return(gradient, null, dqNorm.ToTensor(qWeight), dkNorm.ToTensor(kWeight))
            : BackwardResults.Return(gradient, null);

        void Heads(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, float[]? weight, Span<float> dw, ReadOnlySpan<float> c, ReadOnlySpan<float> s, Span<float> turned)
        {
            for (int i = 0; i < x.Length; i += headDim)
            {
                dy.Slice(i, headDim).CopyTo(turned);
                Rotation.Apply(turned, c, s, -1);
                if (weight is null)
                {
                    turned.CopyTo(dx.Slice(i, headDim));
                }
                else
                {
                    ReadOnlySpan<float> head = x.Slice(i, headDim);
                    RmsNormRow.Gradient(head, RmsNormRow.InverseRms(head, call.Shape.Eps), weight, turned, dx.Slice(i, headDim), dw);
                }
            }
        }
    }
}
