using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace OpenElm.Training.Matrices;

/// <summary>The matrix W [rows, columns] of a linear layer, however its numbers are held.</summary>
internal abstract class Matrix
{
    /// <summary>Outputs of the layer.</summary>
    public abstract long Rows { get; }

    /// <summary>Where the numbers are.</summary>
    public abstract Device Device { get; }

    /// <summary>The product of a linear layer, which sends gradients back to its input, and to W where that is trained.</summary>
    /// <param name="x">[…, columns] in the type of products.</param>
    /// <returns>x · Wᵀ, […, rows].</returns>
    public abstract Tensor Multiply(Tensor x);

    /// <summary>All numbers, for the moment: the next call on this or another matrix of the model may overwrite them.</summary>
    /// <param name="type">The type of products.</param>
    /// <returns>[rows, columns].</returns>
    public abstract Tensor Numbers(ScalarType type);

    /// <summary>Some rows in single precision.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <returns>[count, columns], not to be written to.</returns>
    public abstract Tensor Floats(long first, long count);
}

/// <summary>A matrix that is a tensor.</summary>
/// <param name="weight">[rows, columns].</param>
internal sealed class PlainMatrix(Parameter weight) : Matrix
{
    /// <inheritdoc/>
    public override long Rows => weight.size(0);

    /// <inheritdoc/>
    public override Device Device => weight.device;

    /// <inheritdoc/>
    public override Tensor Multiply(Tensor x)
    {
        if (weight.requires_grad || weight.dtype == x.dtype)
        {
            using Tensor w = weight.to_type(x.dtype);
            return functional.linear(x, w);
        }

        return FrozenProduct.apply(x, this); // libtorch would keep the converted copy of each frozen matrix until the backward pass
    }

    /// <inheritdoc/>
    public override Tensor Numbers(ScalarType type) => weight.to_type(type);

    /// <inheritdoc/>
    public override Tensor Floats(long first, long count) => weight.narrow(0, first, count).to_type(ScalarType.Float32);
}
