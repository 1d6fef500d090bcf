using System.Collections.Immutable;

namespace OpenElm.Checkpoints.Torch;

/// <summary>The few classes and functions that torch's checkpoints name, and what each means here. All others are refused where they are named.</summary>
/// <param name="source">The file, for messages.</param>
internal sealed class PickleClasses(string source)
{
    static readonly Dictionary<string, DType> Storages = new()
    {
        ["FloatStorage"] = DType.F32,
        ["DoubleStorage"] = DType.F64,
        ["HalfStorage"] = DType.F16,
        ["BFloat16Storage"] = DType.BF16,
        ["LongStorage"] = DType.I64,
        ["IntStorage"] = DType.I32,
        ["CharStorage"] = DType.I8,
        ["ByteStorage"] = DType.U8,
        ["BoolStorage"] = DType.BOOL,
    };

    // Values that no weight needs: numbers of NumPy (best_metric), types, devices.
    static readonly HashSet<string> Inert =
    [
        "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode", "torch.device",
        "torch.float32", "torch.float64", "torch.float16", "torch.bfloat16", "torch.int64", "torch.int32", "torch.int8", "torch.uint8", "torch.bool",
    ];

    /// <summary>Accepts a name, or refuses it.</summary>
    public PickleGlobal Find(string module, string name, int at)
    {
        var global = new PickleGlobal(module, name);
        bool isKnown = global switch
        {
            { Module: "collections", Name: "OrderedDict" } => true,
            { Module: "torch._utils", Name: "_rebuild_tensor_v2" or "_rebuild_parameter" } => true,
            { Module: "torch", Name: "Size" } => true,
            { Module: "torch" } when Storages.ContainsKey(name) => true,
            _ => Inert.Contains(global.ToString()),
        };
        return isKnown
            ? global
            : throw new OpenElmException($"{source} names the Python class or function {Shortened(global.ToString())} at byte {at}, which no checkpoint of weights needs; it was not run.");
    }

    /// <summary>The element type of a storage's class.</summary>
    public static DType? StorageType(object? global) =>
        global is PickleGlobal { Module: "torch" } storage && Storages.TryGetValue(storage.Name, out DType dtype) ? dtype : null;

    /// <summary>Makes what a call would make.</summary>
    public object? Call(PickleGlobal function, object?[] arguments, int at) => (function.Name, arguments) switch
    {
        ("OrderedDict", []) => new PickleDictionary(),
        ("Size", [PickleTuple sizes]) => sizes,
        ("_rebuild_parameter", [TorchTensor tensor, ..]) => tensor,
        ("_rebuild_tensor_v2", [TorchStorage storage, long offset, PickleTuple shape, PickleTuple strides, ..]) => Tensor(storage, offset, shape, strides, at),
        _ when Inert.Contains(function.ToString()) => new PickleInert(function),
        _ => throw new OpenElmException($"{source} is damaged: {function} is called with arguments that it does not take (byte {at})."),
    };

    TorchTensor Tensor(TorchStorage storage, long offset, PickleTuple shape, PickleTuple strides, int at)
    {
        ImmutableArray<long>? sizes = Longs(shape), steps = Longs(strides);
        if (sizes is not { } s || steps is not { } t || s.Length != t.Length || s.Any(size => size < 0) || t.Any(step => step < 0) || offset < 0)
        {
            throw new OpenElmException($"{source} is damaged: a tensor has impossible sizes, strides or an impossible offset (byte {at}).");
        }

        // The last element of each row and column must lie inside the storage, and a tensor has no more elements than it.
        var tensor = new TorchTensor(storage, offset, s, t);
        UInt128 elements = 1, last = (UInt128)(ulong)offset;
        foreach ((long size, long step) in s.Zip(t))
        {
            elements *= (ulong)size;
            last += size == 0 ? 0 : (ulong)(size - 1) * (UInt128)(ulong)step;
            if (elements > (ulong)storage.Elements || last > long.MaxValue)
            {
                break;
            }
        }

        return elements <= (ulong)storage.Elements && (elements == 0 || last < (ulong)storage.Elements)
            ? tensor
            : throw new OpenElmException($"{source} is damaged: {tensor} at element {offset}, strides [{string.Join(", ", t)}], does not lie inside its storage {Shortened(storage.Key)} of {storage.Elements} elements (byte {at}).");
    }

    static ImmutableArray<long>? Longs(PickleTuple tuple) =>
        tuple.Items.Length <= 8 && tuple.Items.All(item => item is long) ? [.. tuple.Items.Select(item => (long)item!)] : null;

    static string Shortened(string name) => name.Length <= 100 ? name : name[..100] + "…";
}
