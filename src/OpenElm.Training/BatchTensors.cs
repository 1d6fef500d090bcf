using OpenElm.Data;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>Batches as tensors on the training device.</summary>
internal static class BatchTensors
{
    /// <summary>Copies a batch.</summary>
    /// <returns>Inputs and targets, [sequences, seq] int64 each.</returns>
    public static (Tensor Inputs, Tensor Targets) Of(TokenBatch batch, string device)
    {
        using DisposeScope scope = NewDisposeScope();
        Device where = TorchLibrary.Device(device);
        Tensor Copy(int[] ids) => tensor(ids, [batch.Sequences, batch.SequenceLength]).to(ScalarType.Int64, where).MoveToOuterDisposeScope();

        return (Copy(batch.Inputs), Copy(batch.Targets));
    }
}
