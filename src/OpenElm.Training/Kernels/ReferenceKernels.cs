using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels;

/// <summary>The specification: one operator for each step of the formula, gradients by autograd.</summary>
internal class ReferenceKernels : TrainingKernels
{
    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Tensor weight, double eps)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x32 = x.to_type(ScalarType.Float32);
        Tensor normalized = (x32 * rsqrt(x32.square().mean([-1], keepdim: true).Plus(Number(eps)))).to_type(x.dtype);
        return (normalized * weight).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override QueryKeyValue SplitNormRotate(Tensor qkv, Tensor? qNorm, Tensor? kNorm, SequenceLayout layout, AttentionShape shape)
    {
        using DisposeScope scope = NewDisposeScope();
        (long queries, long kvs) = (shape.Shape.QueryHeads, shape.Shape.KvHeads);
        Tensor heads = qkv.view(qkv.size(0), qkv.size(1), queries + (2 * kvs), shape.HeadDim).transpose(1, 2); // [batch, heads, seq, headDim]
        Tensor[] parts = heads.split([queries, kvs, kvs], dim: 1);
        Tensor q = Rotate(qNorm is null ? parts[0] : RmsNorm(parts[0], qNorm, shape.Eps), layout).to_type(qkv.dtype);
        Tensor k = Rotate(kNorm is null ? parts[1] : RmsNorm(parts[1], kNorm, shape.Eps), layout).to_type(qkv.dtype);
        return new(q.MoveToOuterDisposeScope(), k.MoveToOuterDisposeScope(), parts[2].MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public override Tensor Attend(QueryKeyValue heads, SequenceLayout layout)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor q, Tensor k, Tensor v) = heads;
        (long seq, long headDim, long group) = (q.size(2), q.size(3), q.size(1) / k.size(1));
        Tensor mask = ones(seq, seq, ScalarType.Bool, q.device).triu(1);                           // what comes later
        if (layout.IsPacked)
        {
            long[] numbers = [.. layout.Segments.SelectMany((segment, number) => Enumerable.Repeat((long)number, segment.Length))];
            Tensor record = tensor(numbers, [q.size(0), 1, seq], device: q.device);
            mask = mask.logical_or(record.unsqueeze(-1).ne(record.unsqueeze(-2)));                 // [batch, 1, seq, seq]
        }

        Tensor scores = matmul(q, k.repeat_interleave(group, dim: 1).transpose(2, 3)) / Number(Math.Sqrt(headDim));
        Tensor weights = scores.masked_fill(mask, Number(double.NegativeInfinity)).softmax(-1);            // [batch, queryHeads, seq, seq]
        Tensor y = matmul(weights, v.repeat_interleave(group, dim: 1));                            // [batch, queryHeads, seq, headDim]
        return y.transpose(1, 2).reshape(q.size(0), seq, q.size(1) * headDim).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor[] halves = gateUp.chunk(2, -1);
        return (nn.functional.silu(halves[0]) * halves[1]).MoveToOuterDisposeScope();
    }

    // x ⊙ cos + concat(−second half, first half) ⊙ sin, in single precision, back in x's type.
    static Tensor Rotate(Tensor x, SequenceLayout layout)
    {
        Tensor Lines(Tensor table) => table[TensorIndex.Slice(0, layout.Period)].repeat(1, 2).view(-1, 1, x.size(2), x.size(3)); // [1 or batch, 1, seq, headDim]

        (Tensor cos, Tensor sin) = (Lines(layout.Cos), Lines(layout.Sin));
        Tensor x32 = x.to_type(ScalarType.Float32);
        Tensor[] halves = x32.chunk(2, -1);
        return (x32 * cos).Plus(cat([-halves[1], halves[0]], -1) * sin).to_type(x.dtype);
    }
}
