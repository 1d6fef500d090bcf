namespace OpenElm.Training.Kernels.Fused;

/// <summary>
/// Buffers for the rows of one loop body. Each thread keeps its own: fresh ones for every range of every loop would be hundreds of megabytes of garbage
/// in a step of a large model.
/// </summary>
internal static class RowBuffers
{
    [ThreadStatic]
    static float[][]? _kept;

    /// <summary>A buffer of this thread, until the next body that takes it.</summary>
    /// <param name="index">0, 1 or 2: which of a body's buffers.</param>
    /// <param name="width">Numbers that it must hold.</param>
    /// <returns>[width or more], whatever stood there.</returns>
    public static float[] Take(int index, long width)
    {
        _kept ??= [[], [], []];
        return _kept[index].Length >= width ? _kept[index] : _kept[index] = new float[width];
    }
}
