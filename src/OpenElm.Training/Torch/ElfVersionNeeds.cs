using System.Buffers.Binary;
using System.Text;

namespace OpenElm.Training.Torch;

/// <summary>
/// The symbol versions that an ELF library asks of others (section <c>.gnu.version_r</c>). A version marked weak
/// (<c>VER_FLG_WEAK</c>) may be missing: the dynamic loader then accepts an older library. Little-endian ELF64 only, which is
/// every platform .NET and libtorch share.
/// </summary>
/// <remarks>
/// TorchSharp 0.107's native library is built with GCC 13 and asks for <c>GLIBCXX_3.4.32</c>; Debian 12 and Ubuntu 22.04
/// have 3.4.30. One import carries that version and no code path of ours needs it.
/// </remarks>
internal static class ElfVersionNeeds
{
    const int HeaderSize = 64, SectionHeaderSize = 64;
    const uint SectionTypeVersionNeeds = 0x6ffffffe; // SHT_GNU_verneed
    const ushort Weak = 0x2;                         // VER_FLG_WEAK

    /// <summary>One needed version.</summary>
    /// <param name="Library">The library it is asked of, for example <c>libstdc++.so.6</c>.</param>
    /// <param name="Version">The version, for example <c>GLIBCXX_3.4.32</c>.</param>
    /// <param name="IsWeak">Whether it may be missing.</param>
    /// <param name="FlagsOffset">Where its flags stand in the file.</param>
    public readonly record struct Need(string Library, string Version, bool IsWeak, int FlagsOffset);

    /// <summary>Lists the needed versions.</summary>
    /// <param name="image">The whole file.</param>
    /// <exception cref="InvalidDataException">The file is no ELF64 library, or its tables point outside it.</exception>
    public static List<Need> Read(ReadOnlySpan<byte> image)
    {
        if (image.Length < HeaderSize || !image[..4].SequenceEqual("\u007fELF"u8) || image[4] != 2 || image[5] != 1)
        {
            throw new InvalidDataException("no little-endian ELF64 file");
        }

        long tableOffset = (long)U64(image, 40);
        (int entrySize, int count) = (U16(image, 58), U16(image, 60));
        if (entrySize != SectionHeaderSize)
        {
            throw new InvalidDataException($"section headers of {entrySize} bytes instead of {SectionHeaderSize}");
        }

        var needs = new List<Need>();
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = Slice(image, tableOffset + ((long)i * entrySize), entrySize);
            if (U32(header, 4) == SectionTypeVersionNeeds)
            {
                // sh_link names the string table of the section, sh_info counts its verneed entries.
                ReadOnlySpan<byte> names = Section(image, Slice(image, tableOffset + ((long)U32(header, 40) * entrySize), entrySize));
                ReadNeeds(image, (long)U64(header, 24), (int)U32(header, 44), names, needs);
            }
        }

        return needs;
    }

    /// <summary>Marks one version as weak wherever the file asks for it.</summary>
    /// <param name="image">The whole file, changed in place.</param>
    /// <param name="version">The version.</param>
    /// <returns>How many marks were set: 0 if the file does not ask for it or asks weakly already.</returns>
    public static int Weaken(Span<byte> image, string version)
    {
        int changed = 0;
        foreach (Need need in Read(image))
        {
            if (need.Version == version && !need.IsWeak)
            {
                BinaryPrimitives.WriteUInt16LittleEndian(image[need.FlagsOffset..], (ushort)(U16(image, need.FlagsOffset) | Weak));
                changed++;
            }
        }

        return changed;
    }

    static void ReadNeeds(ReadOnlySpan<byte> image, long offset, int count, ReadOnlySpan<byte> names, List<Need> needs)
    {
        for (int i = 0; i < count; i++)
        {
            // Elf64_Verneed: version u16, aux count u16, file name u32, offset to aux u32, offset to next u32
            ReadOnlySpan<byte> need = Slice(image, offset, 16);
            string library = Name(names, U32(need, 4));
            long auxOffset = offset + U32(need, 8);
            for (int j = 0; j < U16(need, 2); j++)
            {
                // Elf64_Vernaux: hash u32, flags u16, index u16, name u32, offset to next u32
                ReadOnlySpan<byte> aux = Slice(image, auxOffset, 16);
                needs.Add(new Need(library, Name(names, U32(aux, 8)), (U16(aux, 4) & Weak) != 0, (int)auxOffset + 4));
                auxOffset += U32(aux, 12);
            }

            offset += U32(need, 12);
        }
    }

    static ReadOnlySpan<byte> Section(ReadOnlySpan<byte> image, ReadOnlySpan<byte> header) =>
        Slice(image, (long)U64(header, 24), (long)U64(header, 32));

    static ReadOnlySpan<byte> Slice(ReadOnlySpan<byte> image, long offset, long length) =>
        offset >= 0 && length >= 0 && offset <= image.Length && length <= image.Length - offset
            ? image.Slice((int)offset, (int)length)
            : throw new InvalidDataException($"a table of the ELF file points to bytes {offset} to {offset + length} of {image.Length}");

    static string Name(ReadOnlySpan<byte> names, uint offset)
    {
        ReadOnlySpan<byte> rest = Slice(names, offset, names.Length - (long)offset);
        int end = rest.IndexOf((byte)0);
        return end >= 0 ? Encoding.ASCII.GetString(rest[..end]) : throw new InvalidDataException("a name of the ELF file has no end");
    }

    static ushort U16(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[offset..]);

    static uint U32(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);

    static ulong U64(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[offset..]);
}
