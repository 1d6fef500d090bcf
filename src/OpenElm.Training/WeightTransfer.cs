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
    public static void Load(IReadOnlyList<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, TensorView> stored, string failure)
    {
        RequireFit(tensors.Select(entry => (entry.Name, entry.Tensor.shape)), name => stored.TryGetValue(name, out TensorView view) ? view.Shape : default, failure);
        foreach ((string name, Tensor tensor) in tensors)
        {
            Copy(StoredWeight.Of(name, stored[name]), tensor);
        }
    }

    /// <summary>Copies a stored weight into a tensor, converting its type; a quantised one or one in several parts becomes floats first.</summary>
    /// <param name="weight">Where from.</param>
    /// <param name="target">Where to, of the same shape.</param>
    public static void Copy(StoredWeight weight, Tensor target)
    {
        using var noGrad = no_grad();
        using Tensor host = weight.Parts is [var only] && !only.DType.IsBlocked() ? ToTensor(only) : tensor(weight.ToFloats(), [.. weight.Shape]);
        target.copy_(host);
    }

    /// <summary>Checks that stored tensors are there and have the right shapes.</summary>
    /// <param name="wanted">Names and shapes.</param>
    /// <param name="shapeOf">The shape of a stored tensor; the default where there is none.</param>
    /// <param name="failure">How the message of a misfit begins.</param>
    /// <exception cref="OpenElmException">Some are missing or have other shapes; all of them are listed.</exception>
    public static void RequireFit(IEnumerable<(string Name, long[] Shape)> wanted, Func<string, ImmutableArray<long>> shapeOf, string failure)
    {
        var problems = new List<string>();
        foreach ((string name, long[] shape) in wanted)
        {
            ImmutableArray<long> found = shapeOf(name);
            if (found.IsDefault)
            {
                problems.Add($"{name} is missing");
            }
            else if (!found.AsSpan().SequenceEqual(shape))
            {
                problems.Add($"{name} is [{string.Join(", ", found)}]; the model wants [{string.Join(", ", shape)}]");
            }
        }

        if (problems is not [])
        {
            throw OpenElmException.Of(failure, problems);
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
