using OpenElm.Cuda;
using OpenElm.Distributed;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Distributed;

/// <summary>Sums and copies of tensors over all ranks, while others compute. Tensors are contiguous, and stay alive until the exchange is waited for.</summary>
internal abstract class TensorCollectives : IDisposable
{
    const nint Computing = 0; // libtorch's stream, which kernels of ours use too

    /// <summary>The fastest way between the ranks' devices.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="device">This rank's device.</param>
    /// <param name="note">Told if exchanges of a GPU go through host memory.</param>
    public static TensorCollectives For(IProcessGroup group, Device device, Action<string> note)
    {
        if (device.type != TorchSharp.DeviceType.CUDA)
        {
            return new HostCollectives(group);
        }

        var gpu = new CudaDevice(Math.Max(0, device.index)); // NCCL asks which is current
        if (group.OpenDevice(Math.Max(0, device.index), out string? reason) is { } collectives)
        {
            return new StreamCollectives(collectives, gpu, group);
        }

        note($"Exchanges between ranks go through host memory and Open MPI: {reason}.");
        return new StagedCollectives(group);
    }

    /// <summary>Starts to sum over all ranks, in place.</summary>
    /// <param name="data">[n] single precision.</param>
    public abstract IExchange AllReduce(Tensor data);

    /// <summary>Starts to sum over all ranks, each of which gets its part.</summary>
    /// <param name="source">[ranks · n] single precision; undefined afterwards.</param>
    /// <param name="target">[n].</param>
    public abstract IExchange ReduceScatter(Tensor source, Tensor target);

    /// <summary>Starts to put the parts of all ranks together.</summary>
    /// <param name="data">[ranks · n]: this rank's part is at its place.</param>
    public abstract IExchange AllGather(Tensor data);

    /// <inheritdoc/>
    public abstract void Dispose();

    static long Bytes(Tensor tensor) => tensor.numel() * tensor.element_size();

    sealed class HostCollectives(IProcessGroup group) : TensorCollectives
    {
        public override IExchange AllReduce(Tensor data) => group.StartAllReduce(Dispatcher.DataPointer(data), data.numel());

        public override IExchange ReduceScatter(Tensor source, Tensor target) =>
            group.StartReduceScatter(Dispatcher.DataPointer(source), Dispatcher.DataPointer(target), target.numel());

        public override IExchange AllGather(Tensor data) => group.StartAllGather(Dispatcher.DataPointer(data), Bytes(data) / group.Size);

        public override void Dispose()
        {
        }
    }

    // A second stream beside the one that computes: each waits for the other by events, and the host for neither.
    sealed class StreamCollectives(IDeviceCollectives collectives, CudaDevice device, IProcessGroup group) : TensorCollectives
    {
        readonly CudaStream _stream = new();
        readonly CudaEvent _ready = new();

        public override IExchange AllReduce(Tensor data) => Put(() => collectives.AllReduce(Dispatcher.DataPointer(data), data.numel(), _stream.Handle));

        public override IExchange ReduceScatter(Tensor source, Tensor target) =>
            Put(() => collectives.ReduceScatter(Dispatcher.DataPointer(source), Dispatcher.DataPointer(target), target.numel(), _stream.Handle));

        public override IExchange AllGather(Tensor data)
        {
            (nint target, long bytes) = (Dispatcher.DataPointer(data), Bytes(data) / group.Size);
            return Put(() => collectives.AllGather(target + (nint)(group.Rank * bytes), target, bytes, _stream.Handle));
        }

        public override void Dispose()
        {
            collectives.Dispose();
            _stream.Dispose();
            _ready.Dispose();
        }

        StreamExchange Put(Action start)
        {
            device.MakeCurrent();
            _ready.Record(Computing);
            _ready.HoldBack(_stream.Handle);
            start();
            var done = new CudaEvent();
            done.Record(_stream.Handle);
            return new StreamExchange(done);
        }
    }

    sealed class StreamExchange(CudaEvent done) : IExchange
    {
        public void Wait()
        {
            done.HoldBack(Computing);
            done.Dispose();
        }
    }

    // For ranks that share a GPU, or where NCCL is missing.
    sealed class StagedCollectives(IProcessGroup group) : TensorCollectives
    {
        public override IExchange AllReduce(Tensor data)
        {
            Tensor host = ToHost(data);
            return new StagedExchange(group.StartAllReduce(Dispatcher.DataPointer(host), host.numel()), [host], host, data);
        }

        public override IExchange ReduceScatter(Tensor source, Tensor target)
        {
            Tensor host = ToHost(source), part = ToHost(target);
            return new StagedExchange(group.StartReduceScatter(Dispatcher.DataPointer(host), Dispatcher.DataPointer(part), part.numel()), [host, part], part, target);
        }

        public override IExchange AllGather(Tensor data)
        {
            Tensor host = ToHost(data);
            return new StagedExchange(group.StartAllGather(Dispatcher.DataPointer(host), Bytes(host) / group.Size), [host], host, data);
        }

        public override void Dispose()
        {
        }

        static Tensor ToHost(Tensor tensor)
        {
            using var noGrad = no_grad();
            return tensor.cpu().DetachFromDisposeScope();
        }
    }

    sealed class StagedExchange(IExchange exchange, Tensor[] staging, Tensor result, Tensor target) : IExchange
    {
        public void Wait()
        {
            exchange.Wait();
            using var noGrad = no_grad();
            target.copy_(result);
            Array.ForEach(staging, tensor => tensor.Dispose());
        }
    }
}
