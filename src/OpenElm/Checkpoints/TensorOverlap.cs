namespace OpenElm.Checkpoints;

/// <summary>Tensors of one file may not share bytes: no writer does that, and a damaged offset often looks so.</summary>
internal static class TensorOverlap
{
    /// <summary>Checks the windows of a file against each other.</summary>
    /// <param name="path">The file, for the message.</param>
    /// <param name="tensors">Its tensors.</param>
    /// <exception cref="OpenElmException">Two of them overlap.</exception>
    public static void Refuse(string path, IEnumerable<TensorView> tensors)
    {
        TensorView? before = null;
        foreach (TensorView tensor in tensors.Where(tensor => tensor.ByteCount > 0).OrderBy(tensor => tensor.Address))
        {
            if (before is { } other && tensor.Address < other.Address + (nint)other.ByteCount)
            {
                throw new OpenElmException($"{path} is damaged: the data of the tensors {other.Name} and {tensor.Name} overlap.");
            }

            before = tensor;
        }
    }
}
