namespace OpenElm.Distributed;

/// <summary>
/// The processes ("ranks") of one job, and what they exchange. All ranks make the same calls in the same order; a call that another rank never makes ends
/// the job after <see cref="Patience"/>. Who started the ranks and what carries the bytes is the implementation's affair.
/// </summary>
/// <remarks>Addresses are of host memory, which must stay where it is until the exchange is done.</remarks>
public interface IProcessGroup : IDisposable
{
    /// <summary>This process, from 0.</summary>
    int Rank { get; }

    /// <summary>Number of processes.</summary>
    int Size { get; }

    /// <summary>This process among those of its machine, from 0: which GPU is its own.</summary>
    int LocalRank { get; }

    /// <summary>Number of processes on this machine.</summary>
    int LocalSize { get; }

    /// <summary>The machines of all ranks.</summary>
    IReadOnlyList<string> Hosts { get; }

    /// <summary>How long an exchange waits for other ranks before it ends the job.</summary>
    TimeSpan Patience { get; set; }

    /// <summary>Time in which exchanges of this rank's host memory were under way, waiting for other ranks included.</summary>
    TimeSpan Exchanging { get; }

    /// <summary>Starts to sum numbers over all ranks.</summary>
    /// <param name="data">[count] single precision: the summands, then the sums, the same bits on every rank.</param>
    /// <param name="count">Numbers.</param>
    /// <returns>The exchange.</returns>
    IExchange StartAllReduce(nint data, long count);

    /// <summary>Starts to sum numbers over all ranks, each of which gets its part of the sums.</summary>
    /// <param name="source">[size · count] single precision; undefined afterwards.</param>
    /// <param name="target">[count] the part of this rank; outside of the source.</param>
    /// <param name="count">Numbers of a part.</param>
    /// <returns>The exchange.</returns>
    IExchange StartReduceScatter(nint source, nint target, long count);

    /// <summary>Starts to put the parts of all ranks together.</summary>
    /// <param name="data">[size · bytes]: this rank's part is at its place, the others' arrive at theirs.</param>
    /// <param name="bytes">Bytes of a part.</param>
    /// <returns>The exchange.</returns>
    IExchange StartAllGather(nint data, long bytes);

    /// <summary>Starts to copy one rank's bytes to all.</summary>
    /// <param name="data">The bytes, or where they go.</param>
    /// <param name="bytes">How many.</param>
    /// <param name="root">The rank that has them.</param>
    /// <returns>The exchange.</returns>
    IExchange StartBroadcast(nint data, long bytes, int root);

    /// <summary>Collectives between the GPUs of the ranks, one each.</summary>
    /// <param name="device">This rank's GPU.</param>
    /// <param name="reason">Why there are none; null if there are.</param>
    /// <returns>The collectives, or null where they must go through host memory.</returns>
    IDeviceCollectives? OpenDevice(int device, out string? reason);

    /// <summary>Ends all processes of the job; does not return.</summary>
    /// <param name="exitCode">The job's exit code.</param>
    void Abort(int exitCode);
}

/// <summary>An exchange under way. Exchanges of a group are done in the order in which they were started.</summary>
public interface IExchange
{
    /// <summary>Waits until it is done.</summary>
    void Wait();
}

/// <summary>Collectives in device memory, put into a stream; nothing waits. Sums are in single precision.</summary>
public interface IDeviceCollectives : IDisposable
{
    /// <summary>Sums numbers over all ranks, in place.</summary>
    /// <param name="data">[count] single precision.</param>
    /// <param name="count">Numbers.</param>
    /// <param name="stream">The stream.</param>
    void AllReduce(nint data, long count, nint stream);

    /// <summary>Sums numbers over all ranks, each of which gets its part.</summary>
    /// <param name="source">[size · count] single precision.</param>
    /// <param name="target">[count] this rank's part; may be that place in the source.</param>
    /// <param name="count">Numbers of a part.</param>
    /// <param name="stream">The stream.</param>
    void ReduceScatter(nint source, nint target, long count, nint stream);

    /// <summary>Puts the parts of all ranks together.</summary>
    /// <param name="source">[bytes] this rank's part; may be its place in the target.</param>
    /// <param name="target">[size · bytes].</param>
    /// <param name="bytes">Bytes of a part.</param>
    /// <param name="stream">The stream.</param>
    void AllGather(nint source, nint target, long bytes, nint stream);
}
