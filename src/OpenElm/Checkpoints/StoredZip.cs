using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;

namespace OpenElm.Checkpoints;

/// <summary>One file inside a zip archive.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Offset">Where its bytes begin in the archive.</param>
/// <param name="Length">How many they are.</param>
internal readonly record struct ZipEntry(string Name, long Offset, long Length);

/// <summary>
/// A mapped zip archive whose files are stored, not compressed, as torch and NumPy write them: their bytes are used where they
/// lie. The central directory is read (also of archives beyond 4 GiB, "zip64"); every offset is checked.
/// </summary>
internal sealed class StoredZip : IDisposable
{
    const uint EndSignature = 0x06054b50, End64Signature = 0x06064b50, Locator64Signature = 0x07064b50, EntrySignature = 0x02014b50, LocalSignature = 0x04034b50;
    const int EndBytes = 22, End64Bytes = 56, Locator64Bytes = 20, EntryBytes = 46, LocalBytes = 30;
    const int LongestComment = 0xFFFF;
    const ushort Zip64Extra = 1;

    StoredZip(MappedFile file, ImmutableSortedDictionary<string, ZipEntry> entries) => (File, Entries) = (file, entries);

    /// <summary>The archive.</summary>
    public MappedFile File { get; }

    /// <summary>Its files by name.</summary>
    public ImmutableSortedDictionary<string, ZipEntry> Entries { get; }

    /// <summary>Opens an archive; nothing is read but its directory.</summary>
    /// <param name="path">The archive.</param>
    /// <returns>The open archive.</returns>
    /// <exception cref="OpenElmException">It is missing, damaged, or compressed.</exception>
    public static StoredZip Open(string path)
    {
        var file = MappedFile.Open(path);
        try
        {
            return new StoredZip(file, ReadDirectory(file));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A file's bytes, without a copy.</summary>
    /// <param name="entry">The file; it must be below 2 GiB.</param>
    /// <returns>Its bytes.</returns>
    public ReadOnlySpan<byte> Bytes(ZipEntry entry) => File.Bytes(entry.Offset, checked((int)entry.Length));

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();

    static ImmutableSortedDictionary<string, ZipEntry> ReadDirectory(MappedFile file)
    {
        (long count, long size, long offset) = FindDirectory(file);
        if (!file.Holds(offset, size) || count < 0 || count > size / EntryBytes)
        {
            throw Damaged(file, $"its directory claims {count} files in {size} bytes at {offset}");
        }

        var entries = ImmutableSortedDictionary.CreateBuilder<string, ZipEntry>(StringComparer.Ordinal);
        for (long i = 0, at = offset; i < count; i++)
        {
            if (!file.Holds(at, EntryBytes) || UInt32(file, at) != EntrySignature)
            {
                throw Damaged(file, $"entry {i} of its directory is not at byte {at}");
            }

            ReadOnlySpan<byte> entry = file.Bytes(at, EntryBytes);
            int nameLength = UInt16(entry, 28), extraLength = UInt16(entry, 30), commentLength = UInt16(entry, 32);
            int rest = nameLength + extraLength + commentLength;
            if (!file.Holds(at + EntryBytes, rest))
            {
                throw Damaged(file, $"entry {i} of its directory is cut off");
            }

            string name = Encoding.UTF8.GetString(file.Bytes(at + EntryBytes, nameLength));
            ZipEntry read = ReadEntry(file, name, entry, file.Bytes(at + EntryBytes + nameLength, extraLength));
            if (!entries.TryAdd(name, read))
            {
                throw Damaged(file, $"{name} is there twice");
            }

            at += EntryBytes + rest;
        }

        RefuseOverlaps(file, entries.Values);
        return entries.ToImmutable();
    }

    static (long Count, long Size, long Offset) FindDirectory(MappedFile file)
    {
        int tail = (int)Math.Min(file.Length, EndBytes + LongestComment);
        ReadOnlySpan<byte> bytes = file.Bytes(file.Length - tail, tail);
        for (int at = tail - EndBytes; at >= 0; at--)
        {
            if (UInt32(bytes, at) == EndSignature && UInt16(bytes, at + 20) == tail - at - EndBytes)
            {
                long end = file.Length - tail + at;
                return FindDirectory64(file, end) ?? (UInt16(bytes, at + 10), UInt32(bytes, at + 12), UInt32(bytes, at + 16));
            }
        }

        throw Damaged(file, "it has no directory at its end");
    }

    static (long Count, long Size, long Offset)? FindDirectory64(MappedFile file, long end)
    {
        long locator = end - Locator64Bytes;
        if (!file.Holds(locator, Locator64Bytes) || UInt32(file, locator) != Locator64Signature)
        {
            return null;
        }

        long at = BinaryPrimitives.ReadInt64LittleEndian(file.Bytes(locator + 8, 8));
        if (!file.Holds(at, End64Bytes) || UInt32(file, at) != End64Signature)
        {
            throw Damaged(file, $"its zip64 directory is not at byte {at}");
        }

        ReadOnlySpan<byte> bytes = file.Bytes(at, End64Bytes);
        return (BinaryPrimitives.ReadInt64LittleEndian(bytes[32..]), BinaryPrimitives.ReadInt64LittleEndian(bytes[40..]), BinaryPrimitives.ReadInt64LittleEndian(bytes[48..]));
    }

    static ZipEntry ReadEntry(MappedFile file, string name, ReadOnlySpan<byte> entry, ReadOnlySpan<byte> extra)
    {
        int method = UInt16(entry, 10);
        long compressed = UInt32(entry, 20), length = UInt32(entry, 24), local = UInt32(entry, 42);
        if (method != 0)
        {
            throw new OpenElmException($"{file.Path}: {name} is compressed (method {method}); save the archive without compression.");
        }

        // Sizes that do not fit into 32 bits stand in the extra field, in this order, each only if it is needed.
        ReadOnlySpan<byte> wide = Zip64Field(extra);
        if (!TakeWide(ref length, ref wide) || !TakeWide(ref compressed, ref wide) || !TakeWide(ref local, ref wide))
        {
            throw Damaged(file, $"{name} lacks its zip64 sizes");
        }

        if (!file.Holds(local, LocalBytes) || UInt32(file, local) != LocalSignature)
        {
            throw Damaged(file, $"{name} is not at byte {local}");
        }

        ReadOnlySpan<byte> header = file.Bytes(local, LocalBytes);
        long offset = local + LocalBytes + UInt16(header, 26) + UInt16(header, 28);
        return length == compressed && file.Holds(offset, length)
            ? new ZipEntry(name, offset, length)
            : throw Damaged(file, $"{name} claims {length} bytes, {compressed} stored, at {offset} of {file.Length}");
    }

    static bool TakeWide(ref long value, ref ReadOnlySpan<byte> wide)
    {
        if (value != uint.MaxValue)
        {
            return true;
        }

        if (wide.Length < 8)
        {
            return false;
        }

        value = BinaryPrimitives.ReadInt64LittleEndian(wide);
        wide = wide[8..];
        return true;
    }

    static ReadOnlySpan<byte> Zip64Field(ReadOnlySpan<byte> extra)
    {
        while (extra.Length >= 4)
        {
            int length = Math.Min(UInt16(extra, 2), extra.Length - 4);
            if (UInt16(extra, 0) == Zip64Extra)
            {
                return extra.Slice(4, length);
            }

            extra = extra[(4 + length)..];
        }

        return [];
    }

    static void RefuseOverlaps(MappedFile file, IEnumerable<ZipEntry> entries)
    {
        ZipEntry? before = null;
        foreach (ZipEntry entry in entries.Where(entry => entry.Length > 0).OrderBy(entry => entry.Offset))
        {
            if (before is { } other && entry.Offset < other.Offset + other.Length)
            {
                throw Damaged(file, $"{other.Name} and {entry.Name} overlap");
            }

            before = entry;
        }
    }

    static int UInt16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    static uint UInt32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    static uint UInt32(MappedFile file, long at) => BinaryPrimitives.ReadUInt32LittleEndian(file.Bytes(at, 4));

    static OpenElmException Damaged(MappedFile file, string problem) => new($"{file.Path} is no zip archive, truncated, or damaged: {problem}.");
}
