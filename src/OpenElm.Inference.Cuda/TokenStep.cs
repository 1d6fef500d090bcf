using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>One token of one sequence through the whole model in one kernel (<c>step.cu</c>).</summary>
internal sealed class TokenStep : IDisposable
{
    const int LetterWords = 12; // of step.cu

    readonly KernelModule _module;
    readonly Kernel _kernel;
    readonly StepLayout _layout;
    readonly DeviceMemory _tables, _buffers;
    readonly StepModel _model;
    readonly int _multiprocessors;
    readonly nint _stream;
    uint _step;

    TokenStep(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, KernelModule module, CudaDevice device, nint stream)
    {
        (_layout, _module, _kernel, _multiprocessors, _stream) = (layout, module, module["decode_step"], device.Multiprocessors, stream);
        int elementBytes = precision == CudaPrecision.Bf16 ? 2 : 4;
        StepWork[] work = StepWork.Deal(config, weights.Layers, weights.Head, elementBytes, layout);
        StepLayer[] layers = new StepLayer[config.Layers.Length];
        int words = 0;
        for (int i = 0; i < layers.Length; i++)
        {
            DeviceLayer layer = weights.Layers[i];
            LayerShape shape = layer.Shape;
            int splits = StepLayout.Splits(shape, layout.Blocks), letters = shape.QueryHeads * (config.HeadDim / 8) * splits * LetterWords;
            layers[i] = new StepLayer(layer.AttnNorm, layer.FfnNorm, layer.QNorm, layer.KNorm, shape.QueryHeads, shape.KvHeads, shape.FfnDim, layer.FirstKvHead, words, splits);
            words += (2 * (shape.QueryHeads + shape.KvHeads) * config.HeadDim) + letters + (2 * config.ModelDim) + shape.FfnDim;
        }

        int workBytes = work.Length * StepWork.Bytes;
        _tables = new DeviceMemory(workBytes + (layers.Length * StepLayer.Bytes));
        CudaDevice.Copy<StepWork>(work, _tables.Address, stream);
        CudaDevice.Copy<StepLayer>(layers, _tables.Address + workBytes, stream);
        _buffers = new DeviceMemory(((long)words * sizeof(float)) + ((long)config.VocabSize * sizeof(float)) + 512);
        CudaDevice.Clear(_buffers.Address, _buffers.Bytes, stream);
        (int ownRows, int sumRows, int totalRows) = StepLayout.Shares(config, layout.Blocks);
        _model = new StepModel
        {
            Work = _tables.Address,
            Layers = _tables.Address + workBytes,
            Embedding = weights.Embedding,
            FinalNorm = weights.FinalNorm,
            Words = _buffers.Address + 256,
            Logits = _buffers.Address + 256 + (words * sizeof(float)),
            Ends = _buffers.Address,
            LayerCount = layers.Length,
            OwnRows = ownRows,
            SumRows = sumRows,
            TotalRows = totalRows,
            OwnBytes = layout.OwnBytes,
            Eps = (float)config.RmsNormEps,
            Slots = StepLayout.Slots(config, layout.Blocks),
        };
    }

    /// <summary>[vocab], after a step.</summary>
    public nint Logits => _model.Logits;

    /// <summary>Compiles a model's step for a device.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Its weights on the device.</param>
    /// <param name="precision">How they are kept.</param>
    /// <param name="layout">How it is laid out, as the weights are.</param>
    /// <param name="device">The device.</param>
    /// <param name="stream">Where steps go.</param>
    /// <returns>The step.</returns>
    public static TokenStep Create(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, CudaDevice device, nint stream)
    {
        var module = new KernelModule(DecodeKernels.Compile("step", device.ComputeCapability, config, precision, layout, weights.LargestPacked > 0));
        module["decode_step"].ReserveShared(layout.SharedBytes);
        return new TokenStep(config, weights, precision, layout, module, device, stream);
    }

    /// <summary>Puts a step into the stream.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="token">Its token; −1 takes token and position that the step before with the same state has chosen.</param>
    /// <param name="position">Its position.</param>
    /// <param name="choice">Where the most likely token goes.</param>
    public void Launch(DeviceCache cache, int token, int position, StepChoice choice) => Launch(cache, token, position, choice, 0);

    /// <summary>Runs a step and says where its time goes, as the first block sees it.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="position">The position of the token.</param>
    /// <param name="choice">Where its choice goes.</param>
    /// <returns>The phases of all layers, and the head.</returns>
    public StepPhase[] Profile(DeviceCache cache, int position, StepChoice choice)
    {
        // Of a layer: numbers there and rows done of qkv; queries there, own past done, splits joined; numbers there and rows done of the other matrices.
        const int OfLayer = 11;
        int notes = (OfLayer * _model.LayerCount) + 3;
        using var memory = new DeviceMemory(sizeof(long) * (long)notes);
        using CudaEvent start = new(), end = new();
        start.Record(_stream);
        Launch(cache, 0, position, choice, memory.Address);
        end.Record(_stream);
        end.Synchronize();
        long[] cycles = new long[notes];
        DeviceMemory.CopyBack(memory.Address, cycles, _stream);
        double perCycle = 1000 * end.MillisecondsSince(start) / (cycles[^1] - cycles[0]); // launch and end are a few of them
        double Until(int note) => Enumerable.Range(0, _model.LayerCount).Sum(layer => cycles[1 + (layer * OfLayer) + note] - cycles[(layer * OfLayer) + note]) * perCycle;
        StepPhase Of(string name, int note, bool waits = true) => new(name, _model.LayerCount, Until(note), waits ? Until(note - 1) : 0);
        return
        [
            Of("qkv", 1), Of("queries, rotated", 2, false), Of("own past", 3, false), Of("splits, joined", 4, false), Of("out", 6), Of("gate and up", 8), Of("down", 10),
            new StepPhase("head", 1, (cycles[^1] - cycles[^2]) * perCycle, (cycles[^2] - cycles[^3]) * perCycle),
        ];
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
            read.Launch(_stream, (8 * _multiprocessors, 1), 256, address, (int)(bytes >> 14), _model.Ends);
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

    void Launch(DeviceCache cache, int token, int position, StepChoice choice, nint profile)
    {
        StepModel model = _model with { Cos = choice.Cos, Sin = choice.Sin, Chosen = choice.Host, State = choice.State, Candidates = choice.Candidates, Profile = profile, Step = ++_step };
        _kernel.LaunchTogether(_stream, _layout.Blocks, 32 * (_layout.Warps + 1), _layout.SharedBytes, model, cache.Address, cache.Capacity, token, position, choice.Place);
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

/// <summary><c>Layer</c> of step.cu.</summary>
internal readonly record struct StepLayer(nint AttnNorm, nint FfnNorm, nint QNorm, nint KNorm, int QueryHeads, int KvHeads, int FfnDim, int FirstKvHead, int Words, int Splits)
{
    /// <summary>Its size.</summary>
    public const int Bytes = 56;
}

/// <summary><c>Model</c> of step.cu, field for field.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct StepModel
{
    public nint Work { get; set; }
    public nint Layers { get; set; }
    public nint Embedding { get; set; }
    public nint FinalNorm { get; set; }
    public nint Cos { get; set; }
    public nint Sin { get; set; }
    public nint Words { get; set; }
    public nint Logits { get; set; }
    public nint Chosen { get; set; }
    public nint State { get; set; }
    public nint Profile { get; set; }
    public nint Ends { get; set; }
    public int LayerCount { get; set; }
    public int OwnRows { get; set; }
    public int SumRows { get; set; }
    public int Candidates { get; set; }
    public float Eps { get; set; }
    public uint Step { get; set; }
    public int Slots { get; set; }
    public int OwnBytes { get; set; }
    public int TotalRows { get; set; }
    public int Reserved { get; set; }
}
