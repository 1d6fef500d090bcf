using System.Runtime.InteropServices;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>One token of one sequence through the whole model in one kernel (<c>step.cu</c>).</summary>
internal sealed class TokenStep : IDisposable
{
    const int LetterWords = 12; // of step.cu

    readonly KernelModule _module;
    readonly Func<bool, KernelModule> _compile;
    readonly TensorMap[] _maps;
    readonly Kernel _kernel;
    readonly StepLayout _layout;
    readonly DeviceMemory _tables, _buffers;
    readonly StepNorms? _norms; // with LayerNorm
    readonly StepModel _model;
    readonly int _layers;
    readonly nint _stream;
    uint _step;

    TokenStep(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, bool layerNorm, Func<bool, KernelModule> compile, nint stream)
    {
        (_layout, _layers, _compile, _stream) = (layout, config.Layers.Length, compile, stream);
        int elementBytes = precision == CudaPrecision.Bf16 ? 2 : 4, count = config.Layers.Length;
        long bytes = Header + (sizeof(float) * (long)config.VocabSize), embedded = PlaceFor(config.ModelDim);
        int[] splits = [.. config.Layers.Select(shape => StepLayout.Splits(shape, layout.Blocks))];
        var places = new long[count, 6];
        for (int i = 0; i < count; i++)
        {
            LayerShape shape = config.Layers[i];
            int heads = shape.QueryHeads * config.HeadDim;
            int[] numbers = [heads + (2 * shape.KvHeads * config.HeadDim), heads / 8 * splits[i] * LetterWords, heads, config.ModelDim, shape.FfnDim, config.ModelDim];
            for (int j = 0; j < numbers.Length; j++)
            {
                places[i, j] = PlaceFor(numbers[j]);
            }
        }

        // The next multiple of 16 bytes.
        long PlaceFor(int numbers)
        {
            long place = (bytes + 15) / 16 * 16;
            bytes = place + (sizeof(float) * (long)numbers);
            return place;
        }

        _buffers = new DeviceMemory(bytes);
        CudaDevice.Clear(_buffers.Address, _buffers.Bytes, stream);
        nint Place(int layer, int which) => _buffers.Address + (nint)places[layer, which];
        StepWords[] words = [.. Enumerable.Range(0, count).Select(i => new StepWords(Place(i, 0), Place(i, 1), Place(i, 2), Place(i, 3), Place(i, 4), Place(i, 5)))];
        _norms = layerNorm ? new StepNorms(config, weights) : null;
        (StepWork[] work, StepBox[] boxes) = StepWork.Deal(config, _norms?.Layers ?? weights.Layers, _norms?.FinalNorm ?? weights.FinalNorm, weights.Head, elementBytes, layout, _buffers.Address + (nint)embedded, words, Logits);
        try
        {
            _maps = [.. boxes.Select(box => TensorMap.OfPairs(box.Matrix, box.RowBytes, box.Results, box.Second, (box.Bytes, box.BoxResults)))];
            _module = _compile(false);
            _module.Fill<TensorMap>("maps", _maps, stream);
        }
        catch
        {
            _module?.Dispose();
            _norms?.Dispose();
            _buffers.Dispose();
            throw;
        }

        _kernel = _module["decode_step"];
        _norms?.Fill(_module["sum_rows"], stream);
        StepLayer[] layers =
        [
            .. weights.Layers.Select((layer, i) => new StepLayer(
                layer.QNorm, layer.KNorm, words[i].Qkv, words[i].Letters, words[i].Heads, layer.Shape.QueryHeads, layer.Shape.KvHeads, layer.FirstKvHead, splits[i], 0)),
        ];
        int workBytes = work.Length * StepWork.Bytes;
        _tables = new DeviceMemory(workBytes + (layers.Length * StepLayer.Bytes));
        CudaDevice.Copy<StepWork>(work, _tables.Address, stream);
        CudaDevice.Copy<StepLayer>(layers, _tables.Address + workBytes, stream);
        _model = new StepModel { Work = _tables.Address, Layers = _tables.Address + workBytes, Embedding = weights.Embedding, Best = _buffers.Address, Eps = (float)config.RmsNormEps };
    }

    /// <summary>Which of the variants it is.</summary>
    public StepVariant Variant => _layout.Variant;

    // Bytes of the blocks' best logits.
    int Header => StepLayout.Parts(_layout.Blocks * sizeof(long), 256) * 256;

    /// <summary>[vocab], after a step.</summary>
    public nint Logits => _buffers.Address + Header;

    /// <summary>Compiles a model's step for a device.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="weights">Its weights on the device.</param>
    /// <param name="precision">How they are kept.</param>
    /// <param name="layout">How it is laid out, as the weights are.</param>
    /// <param name="options">Of the cache and of the norms.</param>
    /// <param name="device">The device.</param>
    /// <param name="stream">Where steps go.</param>
    /// <returns>The step.</returns>
    public static TokenStep Create(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, InferenceOptions options, CudaDevice device, nint stream)
    {
        return new TokenStep(config, weights, precision, layout, options.LayerNorm, Compile, stream);

        KernelModule Compile(bool profile)
        {
            var module = new KernelModule(MachineCode(config, weights, precision, layout, options, device, profile));
            module["decode_step"].ReserveShared(layout.SharedBytes);
            return module;
        }
    }

    /// <summary>What <see cref="Create"/> loads; kept, so that it is compiled once.</summary>
    /// <returns>Machine code.</returns>
    public static byte[] MachineCode(OpenElmConfig config, DeviceWeights weights, CudaPrecision precision, StepLayout layout, InferenceOptions options, CudaDevice device, bool profile = false) =>
        DecodeKernels.Compile("step", device.ComputeCapability, config, precision, layout, weights.Formats, options.KvCache == KvCacheType.I8, profile, options.LayerNorm);

    /// <summary>Puts steps into the stream, in one kernel; each takes what the one before has chosen.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="token">Its token; −1 takes token and position that the launch before with the same state has chosen.</param>
    /// <param name="position">Its position.</param>
    /// <param name="steps">How many.</param>
    /// <param name="choice">Where the most likely tokens go: in this place and those behind it.</param>
    public void Launch(DeviceCache cache, int token, int position, int steps, StepChoice choice) => Launch(_kernel, cache.Address, cache.Capacity, token, position, steps, choice, 0);

    /// <summary>The same over memory that holds a past of no meaning, to be timed.</summary>
    /// <param name="past">Keys and values, as <see cref="DeviceCache"/> lays them out.</param>
    /// <param name="capacity">Positions of it.</param>
    /// <param name="steps">How many, the last of which takes the last position.</param>
    /// <param name="choice">Where the most likely tokens go.</param>
    public void Rehearse(DeviceMemory past, int capacity, int steps, StepChoice choice) => Launch(_kernel, past.Address, capacity, 0, capacity - steps, steps, choice, 0);

    /// <summary>Steps of a launch that is profiled: the last one, whose instructions have been there before.</summary>
    public const int ProfiledSteps = 4;

    /// <summary>Runs a few steps and says where the time of the last one goes, as the first block sees it.</summary>
    /// <param name="cache">The sequence's cache.</param>
    /// <param name="position">The position of the last step's token.</param>
    /// <param name="choice">Where choices go.</param>
    /// <returns>The phases of all layers, the head, and the choice of all blocks.</returns>
    public StepPhase[] Profile(DeviceCache cache, int position, StepChoice choice)
    {
        // Of a layer: numbers there and rows done of qkv; queries there, own past done, splits joined; numbers there and rows done of the other matrices.
        const int OfLayer = 11;
        int layers = _layers, notes = (OfLayer * layers) + 5, steps = Math.Min(ProfiledSteps, position + 1);
        using KernelModule module = _compile(true);
        module.Fill<TensorMap>("maps", _maps, _stream);
        using var memory = new DeviceMemory(sizeof(long) * (long)notes);
        using CudaEvent start = new(), end = new();
        start.Record(_stream);
        Launch(module["decode_step"], cache.Address, cache.Capacity, 0, position + 1 - steps, steps, choice, memory.Address);
        end.Record(_stream);
        end.Synchronize();
        long[] cycles = new long[notes];
        DeviceMemory.CopyBack(memory.Address, cycles, _stream);
        double perCycle = 1000 * end.MillisecondsSince(start) / (cycles[^1] - cycles[0]); // launch and end are a few of them
        double Between(int note) => (cycles[note] - cycles[note - 1]) * perCycle;
        double Until(int note) => Enumerable.Range(0, layers).Sum(layer => Between(2 + (layer * OfLayer) + note));
        StepPhase Of(string name, int note, bool waits = true) => new(name, layers, Until(note), waits ? Until(note - 1) : 0);
        return
        [
            Of("qkv", 1), Of("queries, rotated", 2, false), Of("own past", 3, false), Of("splits, joined", 4, false), Of("out", 6), Of("gate and up", 8), Of("down", 10),
            new StepPhase("head", 1, Between(notes - 2), Between(notes - 3)), new StepPhase("choice", 1, Between(notes - 1), 0),
        ];
    }

    public void Dispose()
    {
        _module.Dispose();
        _tables.Dispose();
        _buffers.Dispose();
        _norms?.Dispose();
    }

    void Launch(Kernel kernel, nint cache, int capacity, int token, int position, int steps, StepChoice choice, nint profile)
    {
        StepModel model = _model with { Cos = choice.Cos, Sin = choice.Sin, Chosen = choice.Host, State = choice.State, Candidates = choice.Candidates, Profile = profile, Step = _step + 1 };
        _step += (uint)steps;
        kernel.LaunchTogether(_stream, _layout.Blocks, _layout.Threads, _layout.SharedBytes, model, cache, capacity, token, position, steps, choice.Place);
    }
}

/// <summary>Where a step's choice goes, and what it may choose.</summary>
/// <param name="State">On the device: token and position of the step to come.</param>
/// <param name="Host">Where kernels write to the host: [places][token, bits of its logit].</param>
/// <param name="Place">The first step's place there.</param>
/// <param name="Candidates">Ids below this may be chosen.</param>
/// <param name="Cos">[positions, headDim / 2].</param>
/// <param name="Sin">[positions, headDim / 2].</param>
internal readonly record struct StepChoice(nint State, nint Host, int Place, int Candidates, nint Cos, nint Sin);

/// <summary><c>Layer</c> of step.cu.</summary>
internal readonly record struct StepLayer(nint QNorm, nint KNorm, nint Qkv, nint Letters, nint Heads, int QueryHeads, int KvHeads, int FirstKvHead, int Splits, long Reserved)
{
    /// <summary>Its size.</summary>
    public const int Bytes = 64;
}

/// <summary><c>Model</c> of step.cu, field for field.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct StepModel
{
    public nint Work { get; set; }
    public nint Layers { get; set; }
    public nint Embedding { get; set; }
    public nint Cos { get; set; }
    public nint Sin { get; set; }
    public nint Chosen { get; set; }
    public nint State { get; set; }
    public nint Profile { get; set; }
    public nint Best { get; set; }
    public int Candidates { get; set; }
    public float Eps { get; set; }
    public uint Step { get; set; }
    public int Reserved { get; set; }
}
