using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace OpenElm.Tokenization;

/// <summary>
/// Remembers the ids of short parts of text, a bounded number of them. Any number of threads may use it without locks:
/// entries never change and are published whole; two threads that meet in a slot only lose an entry.
/// </summary>
internal sealed class ChunkCache
{
    /// <summary>Longest part that is remembered, in UTF-16 characters: one 256-bit vector.</summary>
    public const int LongestChunk = 16;

    const int SlotBits = 16;

    readonly Entry?[] _slots = new Entry?[1 << SlotBits];

    /// <summary>The part as a key: its characters, then zeros.</summary>
    /// <param name="text">The text that holds the part.</param>
    /// <param name="start">Where the part begins.</param>
    /// <param name="length">Its length, at most <see cref="LongestChunk"/>.</param>
    public static Vector256<ushort> Key(ReadOnlySpan<char> text, int start, int length)
    {
        if (start + LongestChunk <= text.Length)
        {
            ref ushort first = ref Unsafe.As<char, ushort>(ref Unsafe.Add(ref MemoryMarshal.GetReference(text), start));
            return Vector256.LoadUnsafe(ref first)
                & Vector256.LoadUnsafe(ref MemoryMarshal.GetReference(Mask), (nuint)(LongestChunk - length));
        }
        Span<char> padded = stackalloc char[LongestChunk];
        padded.Clear();
        text.Slice(start, length).CopyTo(padded);
        return Vector256.LoadUnsafe(ref Unsafe.As<char, ushort>(ref MemoryMarshal.GetReference(padded)));
    }

    static ReadOnlySpan<ushort> Mask =>
    [
        0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF,
        0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    /// <summary>The remembered entry, or null.</summary>
    /// <param name="key">The part.</param>
    /// <param name="length">Its length: a part may itself contain NUL.</param>
    public Entry? Find(Vector256<ushort> key, int length)
    {
        int slot = Slot(key);
        Entry? entry = Volatile.Read(ref _slots[slot]);
        if (entry is not null && entry.Length == length && entry.Key == key)
        {
            return entry;
        }
        entry = Volatile.Read(ref _slots[slot ^ 1]);
        return entry is not null && entry.Length == length && entry.Key == key ? entry : null;
    }

    public void Remember(Vector256<ushort> key, int length, ReadOnlySpan<int> ids)
    {
        int slot = Slot(key);
        // The first to come keeps its slot (frequent parts come early), the neighbour is taken over again and again.
        Volatile.Write(ref _slots[_slots[slot] is null ? slot : slot ^ 1], new Entry(key, length, ids));
    }

    static int Slot(Vector256<ushort> key)
    {
        Vector256<ulong> words = key.AsUInt64();
        ulong hash = (words[0] * 0x9E3779B97F4A7C15) ^ (words[1] * 0xC2B2AE3D27D4EB4F);
        hash ^= (words[2] * 0x165667B19E3779F9) ^ (words[3] * 0xD6E8FEB86659FD93);
        return (int)((hash ^ (hash << 29)) >> (64 - SlotBits));
    }

    internal sealed class Entry
    {
        public const int InlineIds = 4;

        public Entry(Vector256<ushort> key, int length, ReadOnlySpan<int> ids)
        {
            Key = key;
            Length = length;
            Count = ids.Length;
            if (Count <= InlineIds)
            {
                Span<int> inline = stackalloc int[InlineIds];
                inline.Clear();
                ids.CopyTo(inline);
                Ids = Vector128.Create<int>(inline);
            }
            else
            {
                MoreIds = ids.ToArray();
            }
        }

        public readonly Vector256<ushort> Key;
        public readonly Vector128<int> Ids;
        public readonly int[]? MoreIds;
        public readonly int Length;
        public readonly int Count;
    }
}
