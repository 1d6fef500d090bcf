using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace OpenElm.Tokenization;

/// <summary>Appends ids to a list without a call for each; <see cref="Finish"/> must come last.</summary>
internal ref struct IdSink(List<int> list)
{
    readonly List<int> _list = list;
    Span<int> _ids = CollectionsMarshal.AsSpan(list);

    /// <summary>Length of the list so far.</summary>
    public int Count { get; private set; } = list.Count;

    public readonly int Last => _ids[Count - 1];

    public void Add(int id)
    {
        Reserve(1);
        _ids[Count++] = id;
    }

    public void Add(scoped ReadOnlySpan<int> ids)
    {
        Reserve(ids.Length);
        ids.CopyTo(_ids[Count..]);
        Count += ids.Length;
    }

    /// <summary>Appends the first <paramref name="count"/> of four ids.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Vector128<int> ids, int count)
    {
        Reserve(Vector128<int>.Count);
        ids.StoreUnsafe(ref Unsafe.Add(ref MemoryMarshal.GetReference(_ids), Count));
        Count += count;
    }

    /// <summary>The ids from an earlier <see cref="Count"/> on.</summary>
    public readonly ReadOnlySpan<int> From(int start) => _ids[start..Count];

    public readonly void Finish() => CollectionsMarshal.SetCount(_list, Count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    void Reserve(int count)
    {
        if (_ids.Length - Count < count)
        {
            Grow(count);
        }
    }

    void Grow(int count)
    {
        CollectionsMarshal.SetCount(_list, Math.Max(_list.Capacity, Math.Max(64, checked(Count + count) * 2)));
        _ids = CollectionsMarshal.AsSpan(_list);
    }
}
