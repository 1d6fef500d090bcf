using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>Sums of rows made in <see cref="RowLoop.Parts"/> parts and added in a fixed order: the same bits on any number of threads.</summary>
internal sealed class PartialSums(int width)
{
    readonly float[][] _parts = [.. Enumerable.Range(0, RowLoop.Parts).Select(_ => new float[width])];

    /// <summary>The sums of one part.</summary>
    /// <param name="part">The part.</param>
    /// <returns>[width].</returns>
    public Span<float> this[int part] => _parts[part];

    /// <summary>Adds the parts.</summary>
    /// <param name="like">Gives the type.</param>
    /// <returns>[width].</returns>
    public Tensor ToTensor(Tensor like)
    {
        float[] total = _parts[0];
        foreach (float[] part in _parts.Skip(1))
        {
            for (int i = 0; i < total.Length; i++)
            {
                total[i] += part[i];
            }
        }

        Tensor sums = tensor(total, ScalarType.Float32);
        if (like.dtype == ScalarType.Float32)
        {
            return sums;
        }

        using (sums)
        {
            return sums.to_type(like.dtype);
        }
    }
}
