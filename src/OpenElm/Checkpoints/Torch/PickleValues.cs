using System.Collections.Immutable;

namespace OpenElm.Checkpoints.Torch;

/// <summary>A Python class or function by name; it is never looked up, let alone run.</summary>
/// <param name="Module">For example <c>torch._utils</c>.</param>
/// <param name="Name">For example <c>_rebuild_tensor_v2</c>.</param>
internal sealed record PickleGlobal(string Module, string Name)
{
    public override string ToString() => $"{Module}.{Name}";
}

/// <summary>Something that was called or made and that no weight needs, for example a NumPy scalar: kept by name only.</summary>
/// <param name="Class">What it is.</param>
internal sealed record PickleInert(PickleGlobal Class);

/// <summary>A tuple.</summary>
/// <param name="Items">Its items.</param>
internal sealed record PickleTuple(object?[] Items)
{
    public override string ToString() => $"a tuple of {Items.Length}";
}

/// <summary>A list; it may contain itself, so nobody walks through it.</summary>
internal sealed class PickleList
{
    public List<object?> Items { get; } = [];

    public override string ToString() => $"a list of {Items.Count}";
}

/// <summary>A dictionary in the order of its entries; keys are strings or numbers.</summary>
internal sealed class PickleDictionary
{
    readonly Dictionary<object, object?> _entries = [];

    public IEnumerable<KeyValuePair<object, object?>> Entries => _entries;

    public object? this[object key]
    {
        get => _entries.GetValueOrDefault(key);
        set => _entries[key] = value;
    }

    public override string ToString() => $"a dictionary of {_entries.Count}";
}

/// <summary>The numbers that tensors share: one file of the archive.</summary>
/// <param name="Key">The file's name behind <c>data/</c>.</param>
/// <param name="DType">The type of its elements.</param>
/// <param name="Elements">How many it has.</param>
/// <param name="Address">The first byte.</param>
internal sealed record TorchStorage(string Key, DType DType, long Elements, nint Address);

/// <summary>A window on a storage; it lies inside of it.</summary>
/// <param name="Storage">The storage.</param>
/// <param name="Offset">The first element.</param>
/// <param name="Shape">The sizes.</param>
/// <param name="Strides">Elements from one index to the next, for each dimension.</param>
internal sealed record TorchTensor(TorchStorage Storage, long Offset, ImmutableArray<long> Shape, ImmutableArray<long> Strides)
{
    /// <summary>Whether elements lie one after the other.</summary>
    public bool IsContiguous
    {
        get
        {
            long expected = 1;
            for (int i = Shape.Length - 1; i >= 0; i--)
            {
                if (Shape[i] != 1 && Strides[i] != expected)
                {
                    return false;
                }

                expected *= Shape[i];
            }

            return true;
        }
    }

    public override string ToString() => $"a tensor [{string.Join(", ", Shape)}]";
}
