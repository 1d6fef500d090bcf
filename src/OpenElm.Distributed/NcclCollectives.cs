using System.Runtime.InteropServices;

namespace OpenElm.Distributed;

/// <summary>NCCL between the GPUs of a job's ranks, one each.</summary>
internal sealed unsafe class NcclCollectives : IDeviceCollectives
{
    readonly nint _communicator;

    NcclCollectives(nint communicator) => _communicator = communicator;

    /// <summary>Opens NCCL if every rank has it and a GPU of its own.</summary>
    /// <remarks>The device must be current on the calling thread.</remarks>
    public static NcclCollectives? Open(IProcessGroup group, int device, out string? reason)
    {
        string own = $"{group.Hosts[group.Rank]}/{device}";
        string[] devices = group.AllGather(NativeLibraries.TryLoad(NativeLibraries.Nccl, out _) ? own : "");
        reason = devices.Contains("") ? $"NCCL (libnccl.so.2) does not load on rank {Array.IndexOf(devices, "")}"
            : devices.Distinct().Count() < devices.Length ? "ranks share a GPU"
            : null;
        if (reason is not null)
        {
            return null;
        }

        NcclInterface.UniqueId id;
        if (group.Rank == 0)
        {
            Check(NcclInterface.GetUniqueId(&id));
        }

        group.StartBroadcast((nint)(&id), sizeof(NcclInterface.UniqueId), root: 0).Wait();
        Check(NcclInterface.InitRank(out nint communicator, group.Size, id, group.Rank));
        return new NcclCollectives(communicator);
    }

    /// <inheritdoc/>
    public void AllReduce(nint data, long count, nint stream) =>
        Check(NcclInterface.AllReduce(data, data, (nuint)count, NcclInterface.Float, NcclInterface.Sum, _communicator, stream));

    /// <inheritdoc/>
    public void ReduceScatter(nint source, nint target, long count, nint stream) =>
        Check(NcclInterface.ReduceScatter(source, target, (nuint)count, NcclInterface.Float, NcclInterface.Sum, _communicator, stream));

    /// <inheritdoc/>
    public void AllGather(nint source, nint target, long bytes, nint stream) =>
        Check(NcclInterface.AllGather(source, target, (nuint)bytes, NcclInterface.Byte, _communicator, stream));

    /// <inheritdoc/>
    public void Dispose() => _ = NcclInterface.Destroy(_communicator);

    static void Check(int status)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"NCCL: {Marshal.PtrToStringUTF8((nint)NcclInterface.ErrorString(status))}");
        }
    }
}
