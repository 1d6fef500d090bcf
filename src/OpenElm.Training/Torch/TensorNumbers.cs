using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>
/// Numbers beside tensors in arithmetic. TorchSharp 0.107 makes an object of each number (<see cref="Scalar"/>) and hands libtorch
/// only its address, so that the finaliser may free the number while libtorch reads it: "Expected false to be true", or a wrong value.
/// The conversions and the sums that make such objects are banned symbols in this repository; these take their place.
/// </summary>
internal static class TensorNumbers
{
    const int Recent = 16; // an operator takes at most three numbers

    [ThreadStatic]
    static Scalar?[]? _recent;

    [ThreadStatic]
    static int _next;

    /// <summary>1, which TorchSharp's sums multiply their second operand with.</summary>
    public static readonly Scalar One = Held(1L);

#pragma warning disable RS0030 // the one place that makes numbers
    static Scalar Held(double value) => value;

    static Scalar Held(long value) => value;
#pragma warning restore RS0030

    /// <summary>A number that lives at least as long as the operator it is given to: the thread holds the last few it made.</summary>
    /// <param name="value">The number.</param>
    /// <returns>To be given to an operator at once, not to be stored.</returns>
    public static Scalar Number(double value) => Hold(Held(value));

    /// <inheritdoc cref="Number(double)"/>
    public static Scalar Number(long value) => Hold(Held(value));

    /// <summary>x + y.</summary>
    /// <param name="x">A tensor.</param>
    /// <param name="y">A tensor that its shape can be broadcast with.</param>
    /// <returns>A new tensor.</returns>
    public static Tensor Plus(this Tensor x, Tensor y) => x.add(y, One);

    /// <summary>x + y.</summary>
    /// <param name="x">A tensor.</param>
    /// <param name="y">A number.</param>
    /// <returns>A new tensor.</returns>
    public static Tensor Plus(this Tensor x, Scalar y) => x.add(y, One);

    /// <summary>x ← x + y.</summary>
    /// <param name="x">A tensor.</param>
    /// <param name="y">A tensor that can be broadcast to its shape.</param>
    /// <returns>x.</returns>
    public static Tensor Add(this Tensor x, Tensor y) => x.add_(y, One);

    /// <summary>x ← x + y.</summary>
    /// <param name="x">A tensor.</param>
    /// <param name="y">A number.</param>
    /// <returns>x.</returns>
    public static Tensor Add(this Tensor x, Scalar y) => x.add_(y, One);

    /// <summary>x + y, with y's rows added at <paramref name="index"/> of a dimension.</summary>
    /// <param name="x">A tensor.</param>
    /// <param name="dimension">The dimension.</param>
    /// <param name="index">[rows] places in it.</param>
    /// <param name="y">[rows, …].</param>
    /// <returns>A new tensor.</returns>
    public static Tensor PlusAt(this Tensor x, long dimension, Tensor index, Tensor y) => x.index_add(dimension, index, y, One);

    /// <summary>0, 1, …, count − 1.</summary>
    /// <param name="count">How many.</param>
    /// <param name="type">The number format.</param>
    /// <param name="device">Where.</param>
    /// <returns>[count].</returns>
    public static Tensor Range(long count, ScalarType type, Device device) => arange(Number(0), Number(count), One, type, device);

    static Scalar Hold(Scalar number)
    {
        _recent ??= new Scalar?[Recent];
        _recent[_next] = number;
        _next = (_next + 1) % Recent;
        return number;
    }
}
