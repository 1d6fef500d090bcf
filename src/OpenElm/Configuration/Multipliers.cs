using System.Collections.Immutable;

namespace OpenElm.Configuration;

/// <summary>
/// The α or β of layer-wise scaling: one number for all layers, a pair (first layer, last layer) that is interpolated, or
/// one number for each layer. A list of two numbers is always the pair, as in CoreNet and Hugging Face's class.
/// </summary>
public readonly struct Multipliers : IEquatable<Multipliers>
{
    readonly ImmutableArray<double> _values;

    Multipliers(ImmutableArray<double> values) => _values = values;

    /// <summary>The numbers as they stand in a configuration file: one, two, or one a layer.</summary>
    public ImmutableArray<double> Values => _values.IsDefault ? [1.0] : _values;

    /// <summary>The same number for every layer.</summary>
    /// <param name="value">The multiplier.</param>
    public static implicit operator Multipliers(double value) => new([value]);

    /// <summary>A pair to interpolate.</summary>
    /// <param name="pair">The multipliers of the first and of the last layer.</param>
    public static implicit operator Multipliers((double First, double Last) pair) => new([pair.First, pair.Last]);

    /// <summary>Takes the numbers as a file gives them.</summary>
    /// <param name="values">One number, a pair, or one number a layer.</param>
    /// <returns>The multipliers.</returns>
    public static Multipliers Of(ImmutableArray<double> values) => new(values);

    /// <summary>
    /// The multiplier of every layer: a pair is spread linearly in double precision, the last value forced to the end of
    /// the range, and each value is rounded to two decimals (CoreNet's <c>compute_heads</c>); a list is taken as it is.
    /// </summary>
    /// <param name="layers">The number of layers.</param>
    /// <returns>[layers] multipliers.</returns>
    /// <exception cref="OpenElmException">A list has another length than there are layers.</exception>
    public ImmutableArray<double> ForLayers(int layers)
    {
        ImmutableArray<double> values = Values;
        if (values.Length == 1)
        {
            return [.. Enumerable.Repeat(values[0], layers)];
        }

        if (values.Length != 2)
        {
            return values.Length == layers
                ? values
                : throw new OpenElmException($"A list of {values.Length} multipliers does not fit {layers} layers; give one number, a pair, or one for each layer.");
        }

        (double first, double last) = (values[0], values[1]);
        double step = layers > 1 ? (last - first) / (layers - 1) : 0;
        return [.. Enumerable.Range(0, layers).Select(i => Math.Round(i > 0 && i == layers - 1 ? last : first + (i * step), 2))];
    }

    /// <inheritdoc/>
    public bool Equals(Multipliers other) => Values.SequenceEqual(other.Values);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Multipliers other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Values.Aggregate(0, HashCode.Combine);

    /// <summary>Compares the numbers.</summary>
    /// <param name="left">One side.</param>
    /// <param name="right">The other side.</param>
    /// <returns>Whether both hold the same numbers.</returns>
    public static bool operator ==(Multipliers left, Multipliers right) => left.Equals(right);

    /// <summary>Compares the numbers.</summary>
    /// <param name="left">One side.</param>
    /// <param name="right">The other side.</param>
    /// <returns>Whether they differ.</returns>
    public static bool operator !=(Multipliers left, Multipliers right) => !left.Equals(right);

    /// <inheritdoc/>
    public override string ToString() => Values.Length == 1 ? $"{Values[0]}" : $"[{string.Join(", ", Values)}]";
}
