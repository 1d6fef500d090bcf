using OpenElm.Distributed;

namespace OpenElm.Training.Tests.Distributed;

/// <summary>A rank without others: what it would gather from them is not a number.</summary>
internal sealed record FakeGroup(int Rank, int Size) : IProcessGroup
{
    public int LocalRank => Rank;
    public int LocalSize => Size;
    public IReadOnlyList<string> Hosts => [.. Enumerable.Repeat("host", Size)];
    public TimeSpan Patience { get; set; }
    public TimeSpan Exchanging => default;
    public IExchange StartAllReduce(nint data, long count) => throw new NotSupportedException();
    public IExchange StartReduceScatter(nint source, nint target, long count) => throw new NotSupportedException();

    public unsafe IExchange StartAllGather(nint data, long bytes)
    {
        double* values = (double*)data;
        for (int i = 0; i < Size * bytes / sizeof(double); i++)
        {
            values[i] = i / (bytes / sizeof(double)) == Rank ? values[i] : double.NaN;
        }

        return new Done();
    }

    sealed class Done : IExchange
    {
        public void Wait()
        {
        }
    }

    public IExchange StartBroadcast(nint data, long bytes, int root) => throw new NotSupportedException();
    public IDeviceCollectives? OpenDevice(int device, out string? reason) => throw new NotSupportedException();
    public void Abort(int exitCode) => throw new NotSupportedException();
    public void Dispose()
    {
    }
}
