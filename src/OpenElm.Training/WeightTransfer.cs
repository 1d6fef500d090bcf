using System.Collections.Immutable;
using OpenElm.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>Moves tensors between libtorch and files.</summary>
internal static class WeightTransfer
{
    const int Buffer = 1 << 20; // TorchSharp's own default of 1 KiB makes a system call for each

    /// <summary>Copies stored tensors into weights, converting their type.</summary>
    /// <param name="tensors">Where to.</param>
    /// <param name="stored">Where from, by name.</param>
    /// <param name="failure">How the message of a misfit begins.</param>
    public static void Load(IReadOnlyList<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, TensorView> stored, string failure) =>
        Load(tensors, stored, view => view.Shape, ToTensor, failure);

    /// <summary>Copies the weights of a checkpoint of any format; quantised ones and those in several parts become floats first.</summary>
    /// <param name="tensors">Where to.</param>
    /// <param name="stored">Where from, by name.</param>
    /// <param name="failure">How the message of a misfit begins.</param>
    public static void Load(IReadOnlyList<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, StoredWeight> stored, string failure) =>
        Load(tensors, stored, weight => weight.Shape, weight => tensor(weight.ToFloats(), [.. weight.Shape]), failure);

    static void Load<T>(
        IReadOnlyList<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, T> stored, Func<T, ImmutableArray<long>> shape, Func<T, Tensor> read, string failure)
    {
        var problems = new List<string>();
        foreach ((string name, Tensor tensor) in tensors)
        {
            if (!stored.TryGetValue(name, out T? found))
            {
                problems.Add($"{name} is missing");
            }
            else if (!shape(found).AsSpan().SequenceEqual(tensor.shape))
            {
                problems.Add($"{name} is [{string.Join(", ", shape(found))}]; the model wants [{string.Join(", ", tensor.shape)}]");
            }
        }

        if (problems is not [])
        {
            throw OpenElmException.Of(failure, problems);
        }

        using var noGrad = no_grad();
        foreach ((string name, Tensor tensor) in tensors)
        {
            using Tensor host = read(stored[name]);
            tensor.copy_(host);
        }
    }

    /// <summary>Lists weights for a file writer.</summary>
    /// <param name="weights">The weights.</param>
    public static IReadOnlyList<TensorSource> ToSources(IEnumerable<NamedWeight> weights) =>
        [.. weights.Select(weight => ToSource(weight.Name, weight.Value))];

    /// <summary>Describes one tensor for a file writer; it is read when the writer asks.</summary>
    /// <param name="name">The name in the file.</param>
    /// <param name="tensor">The tensor, which must live until it is written.</param>
    public static TensorSource ToSource(string name, Tensor tensor) => new(name, ToDType(tensor.dtype), [.. tensor.shape], stream =>
    {
        using DisposeScope scope = NewDisposeScope();
        tensor.detach().cpu().contiguous().WriteBytesToStream(stream, Buffer);
    });

    /// <summary>Copies a stored tensor to the CPU.</summary>
    /// <param name="view">The stored tensor.</param>
    /// <returns>A tensor of the same type.</returns>
    public static Tensor ToTensor(TensorView view)
    {
        Tensor tensor = empty([.. view.Shape], ToScalarType(view.DType));
        using UnmanagedMemoryStream stream = view.OpenRead();
        tensor.ReadBytesFromStream(stream, Buffer);
        return tensor;
    }

    static DType ToDType(ScalarType type) => type switch
    {
        ScalarType.Float32 => DType.F32,
        ScalarType.BFloat16 => DType.BF16,
        ScalarType.Float64 => DType.F64,
        ScalarType.Float16 => DType.F16,
        ScalarType.Int64 => DType.I64,
        _ => throw new ArgumentException($"Tensors of {type} are not stored.", nameof(type)),
    };

    static ScalarType ToScalarType(DType type) => type switch
    {
        DType.F32 => ScalarType.Float32,
        DType.BF16 => ScalarType.BFloat16,
        DType.F64 => ScalarType.Float64,
        DType.F16 => ScalarType.Float16,
        DType.I64 => ScalarType.Int64,
        _ => throw new OpenElmException($"A stored tensor holds {type}; weights must be F32, F64, BF16 or F16."),
    };
}
