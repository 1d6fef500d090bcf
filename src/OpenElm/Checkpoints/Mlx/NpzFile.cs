using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace OpenElm.Checkpoints.Mlx;

/// <summary>
/// NumPy's archive of arrays, as older versions of Apple's example write it: a zip of <c>NAME.npy</c>, each a magic number, a
/// header in Python's syntax (<c>{'descr': '&lt;f4', 'fortran_order': False, 'shape': (3, 4), }</c>), and the elements.
/// </summary>
internal sealed class NpzFile : IDisposable
{
    const string Ending = ".npy";
    const int MostDimensions = 3, LongestHeader = 10_000;

    static readonly Dictionary<string, DType> Types = new()
    {
        ["<f4"] = DType.F32,
        ["<f2"] = DType.F16,
        ["<f8"] = DType.F64,
        ["<u4"] = DType.U32,
        ["<i4"] = DType.I32,
        ["<i8"] = DType.I64,
        ["|u1"] = DType.U8,
        ["|i1"] = DType.I8,
        ["|b1"] = DType.BOOL,
        ["<V2"] = DType.BF16, // NumPy has no bfloat16; MLX writes two bytes without a meaning
        ["|V2"] = DType.BF16,
    };

    readonly StoredZip _zip;

    NpzFile(StoredZip zip, ImmutableDictionary<string, TensorView> tensors) => (_zip, Tensors) = (zip, tensors);

    /// <summary>The arrays by name.</summary>
    public ImmutableDictionary<string, TensorView> Tensors { get; }

    /// <summary>Opens an archive; arrays are mapped.</summary>
    /// <exception cref="OpenElmException">It is damaged, compressed, or holds other types.</exception>
    public static NpzFile Open(string path)
    {
        var zip = StoredZip.Open(path);
        try
        {
            return new NpzFile(zip, zip.Entries.Values.Where(entry => entry.Name.EndsWith(Ending, StringComparison.Ordinal))
                .Select(entry => Read(zip, entry)).ToImmutableDictionary(tensor => tensor.Name));
        }
        catch
        {
            zip.Dispose();
            throw;
        }
    }

    public void Dispose() => _zip.Dispose();

    static TensorView Read(StoredZip zip, ZipEntry entry)
    {
        OpenElmException Damaged(string problem) => new($"{zip.File.Path} is damaged: {entry.Name} {problem}.");

        ReadOnlySpan<byte> start = zip.File.Bytes(entry.Offset, (int)Math.Min(entry.Length, LongestHeader));
        if (start.Length < 12 || start[0] != 0x93 || !start[1..6].SequenceEqual("NUMPY"u8))
        {
            throw Damaged("is no NumPy array");
        }

        int prefix = start[6] == 1 ? 10 : 12;
        long length = start[6] == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(start[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(start[8..]);
        if (prefix + length > start.Length)
        {
            throw Damaged($"has a header of {length} bytes");
        }

        string header = Encoding.ASCII.GetString(start.Slice(prefix, (int)length));
        string? descr = Between(header, "'descr':", "'", "'");
        string? shape = Between(header, "'shape':", "(", ")");
        if (descr is null || shape is null || !Types.TryGetValue(descr, out DType dtype) || !header.Contains("'fortran_order': False", StringComparison.Ordinal))
        {
            throw Damaged($"has the header {header.Trim()}, which is not supported");
        }

        var sizes = ImmutableArray.CreateBuilder<long>();
        foreach (string part in shape.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            sizes.Add(sizes.Count < MostDimensions && int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int size) ? size : throw Damaged($"has the sizes ({shape})"));
        }

        long data = entry.Length - prefix - length;
        UInt128 elements = 1;
        foreach (long size in sizes)
        {
            elements *= (ulong)size;
        }

        return elements * (ulong)dtype.Size() == (ulong)data
            ? new TensorView(entry.Name[..^Ending.Length], dtype, sizes.ToImmutable(), zip.File.AddressOf(entry.Offset + prefix + length, data), data)
            : throw Damaged($"has the sizes ({shape}) of {dtype} and {data} bytes");
    }

    static string? Between(string text, string key, string open, string close)
    {
        int at = text.IndexOf(key, StringComparison.Ordinal);
        int from = at < 0 ? -1 : text.IndexOf(open, at + key.Length, StringComparison.Ordinal);
        int to = from < 0 ? -1 : text.IndexOf(close, from + 1, StringComparison.Ordinal);
        return to < 0 ? null : text[(from + 1)..to];
    }
}
