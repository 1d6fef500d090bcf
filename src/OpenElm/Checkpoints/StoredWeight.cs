using System.Collections.Immutable;
using OpenElm.Quantization;

namespace OpenElm.Checkpoints;

/// <summary>One weight of an open checkpoint: a stored tensor, or several stacked along rows (GGUF keeps gate and up apart).</summary>
/// <param name="Name">CoreNet's name.</param>
/// <param name="Shape">The sizes, outermost first.</param>
/// <param name="Parts">The stored tensors, in the order of their rows; each may have a type of its own.</param>
public sealed record StoredWeight(string Name, ImmutableArray<long> Shape, ImmutableArray<TensorView> Parts)
{
    /// <summary>The number of elements.</summary>
    public long Elements => Parts.Sum(part => part.Elements);

    /// <summary>Bytes of all parts.</summary>
    public long ByteCount => Parts.Sum(part => part.ByteCount);

    /// <summary>A weight that is stored as one tensor.</summary>
    /// <param name="name">CoreNet's name.</param>
    /// <param name="tensor">The tensor.</param>
    /// <returns>The weight.</returns>
    public static StoredWeight Of(string name, TensorView tensor) => new(name, tensor.Shape, [tensor]);

    /// <summary>Converts the elements to floats.</summary>
    /// <param name="destination">[Elements].</param>
    /// <exception cref="OpenElmException">A part holds no floating-point numbers.</exception>
    public void CopyTo(Span<float> destination)
    {
        foreach (TensorView part in Parts)
        {
            int elements = checked((int)part.Elements);
            part.CopyTo(destination[..elements]);
            destination = destination[elements..];
        }
    }

    /// <summary>Converts some rows of a matrix to floats.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <param name="destination">[count, columns].</param>
    /// <exception cref="OpenElmException">A part holds no floating-point numbers.</exception>
    public void CopyRowsTo(long first, long count, Span<float> destination)
    {
        int columns = checked((int)Shape[^1]);
        foreach (TensorView part in Parts)
        {
            long taken = Math.Clamp(part.Shape[0] - first, 0, count);
            if (taken > 0)
            {
                int elements = checked((int)(taken * columns));
                part.Rows(first, taken).CopyTo(destination[..elements]);
                destination = destination[elements..];
            }

            first = Math.Max(0, first - part.Shape[0]);
            count -= taken;
        }
    }

    /// <summary>Converts the elements to a new array of floats.</summary>
    /// <returns>[Elements].</returns>
    public float[] ToFloats()
    {
        float[] floats = new float[checked((int)Elements)];
        CopyTo(floats);
        return floats;
    }

    /// <summary>Writes the weight in another type, some rows at a time on all processors; what is stored in that type already is copied as it is.</summary>
    /// <param name="dtype">The type: a plain one of floats, or a block format that the rows are whole blocks of.</param>
    /// <param name="destination">Where to.</param>
    /// <param name="cancellation">Stops between two pieces.</param>
    /// <exception cref="OpenElmException">A number cannot be stored in the type.</exception>
    public void WriteAs(DType dtype, Stream destination, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        if (Parts.Any(part => part.DType != dtype))
        {
            new WeightWriter(this, dtype, ReadOnlyMemory<float>.Empty, cancellation).WriteTo(destination);
            return;
        }

        foreach (TensorView part in Parts)
        {
            using UnmanagedMemoryStream bytes = part.OpenRead();
            bytes.CopyTo(destination);
        }
    }
}
