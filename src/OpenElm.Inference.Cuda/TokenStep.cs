using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>One token of one sequence through the whole model in one kernel (<c>step.cu</c>).</summary>
internal sealed class TokenStep : IDisposable
{
    readonly KernelModule _module;
    readonly Kernel _kernel;
    readonly StepLayout _layout;
    readonly DeviceMemory _tables, _buffers;
    readonly StepModel _model;
    readonly int _blocks;
    readonly nint _stream;

    public TokenStep(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, CudaDevice device, nint stream)
    {
        (_layout, _blocks, _stream) = (layout, device.Multiprocessors, stream);
        _module = new KernelModule(DecodeKernels.Compile("step", device.ComputeCapability, config, precision, layout));
        _kernel = _module["decode_step"];
        _kernel.ReserveShared(layout.SharedBytes);

        StepMatrix[] matrices = [.. Matrices(config, weights, _blocks * StepLayout.Warps)];
        StepLayer[] layers = [.. weights.Layers.Select(layer => new StepLayer(
            layer.AttnNorm, layer.FfnNorm, layer.QNorm, layer.KNorm, layer.Shape.QueryHeads, layer.Shape.KvHeads, layer.Shape.FfnDim, layer.FirstKvHead))];
        int matrixBytes = matrices.Length * Marshal.SizeOf<StepMatrix>();
        _tables = new DeviceMemory(matrixBytes + (layers.Length * Marshal.SizeOf<StepLayer>()));
        CudaDevice.Copy<StepMatrix>(matrices, _tables.Address, stream);
        CudaDevice.Copy<StepLayer>(layers, _tables.Address + matrixBytes, stream);

        int queryHeads = config.Layers.Max(layer => layer.QueryHeads), qkv = config.Layers.Max(layer => (layer.QueryHeads + (2 * layer.KvHeads)) * config.HeadDim);
        long[] floats = [config.ModelDim, qkv, (long)queryHeads * StepLayout.MostSplits * config.HeadDim, (long)queryHeads * StepLayout.MostSplits * 2, config.Layers.Max(layer => layer.FfnDim), config.VocabSize, 16];
        long[] starts = [.. floats.Select((_, i) => floats.Take(i).Sum(count => (count + 63) / 64 * 256))];
        _buffers = new DeviceMemory(starts[^1] + 256);
        CudaDevice.Clear(_buffers.Address, _buffers.Bytes, stream);
        nint At(int buffer) => _buffers.Address + (nint)starts[buffer];
        _model = new StepModel
        {
            Matrices = _tables.Address,
            Layers = _tables.Address + matrixBytes,
            Embedding = weights.Embedding,
            FinalNorm = weights.FinalNorm,
            X = At(0),
            Qkv = At(1),
            Partial = At(2),
            Extremes = At(3),
            H = At(4),
            Logits = At(5),
            Meeting = At(6),
            LayerCount = layers.Length,
            Width = config.ModelDim,
            Vocab = config.VocabSize,
            Eps = (float)config.RmsNormEps,
        };
    }

    /// <summary>[vocab], after a step.</summary>
    public nint Logits => _model.Logits;

    /// <summary>The matrices in the order of a step, and which warp has each one's first unit: where the one before ended, so that all read about as much.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Their addresses.</param>
    /// <param name="warps">Of all blocks.</param>
    /// <returns>Four for each layer, then the head.</returns>
    public static IEnumerable<StepMatrix> Matrices(OpenElmConfig config, DeviceWeights weights, int warps)
    {
        long before = 0;
        foreach (DeviceLayer layer in weights.Layers)
        {
            LayerShape shape = layer.Shape;
            yield return Next(layer.QkvProj, (shape.QueryHeads + (2 * shape.KvHeads)) * config.HeadDim, config.ModelDim);
            yield return Next(layer.OutProj, config.ModelDim, shape.QueryHeads * config.HeadDim);
            yield return Next(layer.Proj1, shape.FfnDim, config.ModelDim);
            yield return Next(layer.Proj2, config.ModelDim, shape.FfnDim);
        }

        yield return Next(weights.Head, config.VocabSize, config.ModelDim);

        StepMatrix Next(nint address, int units, int width)
        {
            var matrix = new StepMatrix(address, units, width, (int)(before % warps), 0);
            before += units;
            return matrix;
        }
    }

    /// <summary>Puts a step into the stream.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="token">Its token; −1 takes token and position that the step before with the same state has chosen.</param>
    /// <param name="position">Its position.</param>
    /// <param name="choice">Where the most likely token goes.</param>
    public void Launch(DeviceCache cache, int token, int position, StepChoice choice)
    {
        StepModel model = _model with { Cos = choice.Cos, Sin = choice.Sin, Chosen = choice.Host, State = choice.State, Candidates = choice.Candidates };
        _kernel.LaunchTogether(_stream, _blocks, 32 * StepLayout.Warps, _layout.SharedBytes, model, cache.Address, cache.Capacity, token, position, choice.Place);
    }

    /// <summary>Runs a step and says where its time goes, as the first block sees it.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="position">The position of the token.</param>
    /// <param name="choice">Where its choice goes.</param>
    /// <returns>The phases of all layers, and the head.</returns>
    public StepPhase[] Profile(DeviceCache cache, int position, StepChoice choice)
    {
        string[] names = ["qkv", "attention", "out", "gate and up", "down"];
        int meetings = names.Length * _model.LayerCount;
        using var memory = new DeviceMemory(sizeof(long) * ((2L * meetings) + 2));
        StepModel model = _model with { Cos = choice.Cos, Sin = choice.Sin, Chosen = choice.Host, State = choice.State, Candidates = choice.Candidates, Profile = memory.Address };
        using CudaEvent start = new(), end = new();
        start.Record(_stream);
        _kernel.LaunchTogether(_stream, _blocks, 32 * StepLayout.Warps, _layout.SharedBytes, model, cache.Address, cache.Capacity, 0, position, choice.Place);
        end.Record(_stream);
        end.Synchronize();
        long[] cycles = new long[(2 * meetings) + 2];
        DeviceMemory.CopyBack(memory.Address, cycles, _stream);
        double microseconds = 1000 * end.MillisecondsSince(start), perCycle = microseconds / (cycles[^1] - cycles[0]); // launch and end are a few of them
        var phases = new StepPhase[names.Length + 1];
        for (int i = 0; i < names.Length; i++)
        {
            IEnumerable<int> own = Enumerable.Range(0, _model.LayerCount).Select(layer => (layer * names.Length) + i);
            phases[i] = new StepPhase(
                names[i], _model.LayerCount, own.Sum(at => cycles[(2 * at) + 1] - cycles[2 * at]) * perCycle, own.Sum(at => cycles[(2 * at) + 2] - cycles[(2 * at) + 1]) * perCycle);
        }

        phases[^1] = new StepPhase("head", 1, (cycles[^1] - cycles[^2]) * perCycle, 0);
        return phases;
    }

    /// <summary>Reads memory with all threads and nothing else.</summary>
    /// <param name="address">The first byte.</param>
    /// <param name="bytes">How many; whole multiples of 16 KiB are read.</param>
    /// <returns>Bytes a second, the best of five.</returns>
    public double MeasureRead(nint address, long bytes)
    {
        Kernel read = _module["read_all"];
        using CudaEvent start = new(), end = new();
        double best = 0;
        for (int i = 0; i < 6; i++)
        {
            start.Record(_stream);
            read.Launch(_stream, (8 * _blocks, 1), 256, address, (int)(bytes >> 14), _model.X);
            end.Record(_stream);
            end.Synchronize();
            best = i == 0 ? 0 : Math.Max(best, (bytes >> 14 << 14) / (end.MillisecondsSince(start) / 1000));
        }

        return best;
    }

    public void Dispose()
    {
        _module.Dispose();
        _tables.Dispose();
        _buffers.Dispose();
    }
}

/// <summary>Where a step's choice goes, and what it may choose.</summary>
/// <param name="State">On the device: token and position of the step to come.</param>
/// <param name="Host">Where kernels write to the host: [places][token, bits of its logit].</param>
/// <param name="Place">The place there.</param>
/// <param name="Candidates">Ids below this may be chosen.</param>
/// <param name="Cos">[positions, headDim / 2].</param>
/// <param name="Sin">[positions, headDim / 2].</param>
internal readonly record struct StepChoice(nint State, nint Host, int Place, int Candidates, nint Cos, nint Sin);

/// <summary><c>Matrix</c> of step.cu.</summary>
internal readonly record struct StepMatrix(nint Weights, int Units, int Width, int Offset, int Reserved);

/// <summary><c>Layer</c> of step.cu.</summary>
internal readonly record struct StepLayer(nint AttnNorm, nint FfnNorm, nint QNorm, nint KNorm, int QueryHeads, int KvHeads, int FfnDim, int FirstKvHead);

/// <summary><c>Model</c> of step.cu, field for field.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct StepModel
{
    public nint Matrices { get; set; }
    public nint Layers { get; set; }
    public nint Embedding { get; set; }
    public nint FinalNorm { get; set; }
    public nint Cos { get; set; }
    public nint Sin { get; set; }
    public nint X { get; set; }
    public nint Qkv { get; set; }
    public nint Partial { get; set; }
    public nint Extremes { get; set; }
    public nint H { get; set; }
    public nint Logits { get; set; }
    public nint Chosen { get; set; }
    public nint State { get; set; }
    public nint Profile { get; set; }
    public nint Meeting { get; set; }
    public int LayerCount { get; set; }
    public int Width { get; set; }
    public int Vocab { get; set; }
    public int Candidates { get; set; }
    public float Eps { get; set; }
    public int Reserved { get; set; }
}
