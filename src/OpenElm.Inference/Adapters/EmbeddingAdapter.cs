using System.Numerics.Tensors;
using OpenElm.Adapters;
using OpenElm.Inference.Memory;

namespace OpenElm.Inference.Adapters;

/// <summary>What adapters add to rows of the embedding on their way in; a tied head reads the rows without it.</summary>
internal sealed class EmbeddingAdapter : IDisposable
{
    readonly NativeFloats _basis;           // [rank, modelDim]
    readonly NativeFloats _coefficients;    // [vocab, rank]
    readonly int _rank, _width;

    /// <summary>Takes the adapters of the embedding.</summary>
    /// <param name="update">What they do.</param>
    public EmbeddingAdapter(LowRankUpdate update)
    {
        (_rank, _width) = (update.Rank, update.Columns);
        _basis = new NativeFloats((long)_rank * _width);
        _coefficients = new NativeFloats((long)update.Rows * _rank);
        update.CopyBasis(_basis.Values);
        double[] own = new double[_rank];
        for (int row = 0; row < update.Rows; row++)
        {
            update.Resolve(row, [], own);
            TensorPrimitives.ConvertTruncating<double, float>(own, _coefficients.Slice((long)row * _rank, _rank));
        }
    }

    /// <summary>Adds to one row; allocates nothing.</summary>
    /// <param name="token">The row.</param>
    /// <param name="x">[modelDim].</param>
    public void AddTo(int token, Span<float> x)
    {
        Span<float> coefficients = _coefficients.Slice((long)token * _rank, _rank);
        for (int k = 0; k < _rank; k++)
        {
            TensorPrimitives.MultiplyAdd(_basis.Slice((long)k * _width, _width), coefficients[k], x, x);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _basis.Dispose();
        _coefficients.Dispose();
    }
}
