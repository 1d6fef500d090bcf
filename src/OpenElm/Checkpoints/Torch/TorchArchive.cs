namespace OpenElm.Checkpoints.Torch;

/// <summary>
/// An archive of <c>torch.save</c>: a zip with <c>NAME/data.pkl</c>, the pickle, and <c>NAME/data/0</c>, <c>1</c>, …, the numbers.
/// </summary>
internal static class TorchArchive
{
    const string PickleFile = "data.pkl";
    const long LongestPickle = 1 << 26; // a full training checkpoint of OpenELM-3B has half a megabyte

    /// <summary>Whether an archive is torch's.</summary>
    public static bool Is(StoredZip zip) => zip.Entries.Keys.Any(name => name.EndsWith("/" + PickleFile, StringComparison.Ordinal));

    /// <summary>Reads the pickle; tensors are windows on the archive.</summary>
    /// <param name="zip">The archive.</param>
    /// <returns>What was saved.</returns>
    /// <exception cref="OpenElmException">It is damaged, or holds more than numbers and containers.</exception>
    public static object? Read(StoredZip zip)
    {
        string path = zip.File.Path;
        ZipEntry[] pickles = [.. zip.Entries.Values.Where(entry => entry.Name.EndsWith("/" + PickleFile, StringComparison.Ordinal))];
        if (pickles is not [var pickle])
        {
            throw new OpenElmException($"{path} holds {pickles.Length} files {PickleFile}; torch writes one.");
        }

        if (pickle.Length > LongestPickle)
        {
            throw new OpenElmException($"{path}: {pickle.Name} has {pickle.Length} bytes; no checkpoint of weights needs more than {LongestPickle}.");
        }

        string prefix = pickle.Name[..^PickleFile.Length];
        if (zip.Entries.TryGetValue(prefix + "byteorder", out ZipEntry order) && order.Length < 100 && !zip.Bytes(order).SequenceEqual("little"u8))
        {
            throw new OpenElmException($"{path} was saved on a big-endian machine, which is not supported; save it again on another.");
        }

        return new Unpickler($"{path}, {PickleFile},", zip.Bytes(pickle).ToArray(), id => Storage(zip, prefix, id)).Read();
    }

    // ('storage', class, key, device, elements)
    static TorchStorage Storage(StoredZip zip, string prefix, PickleTuple id)
    {
        if (id.Items is not ["storage", PickleGlobal type, string key, string, long elements] || PickleClasses.StorageType(type) is not { } dtype)
        {
            throw new OpenElmException($"{zip.File.Path} is damaged: a tensor's numbers are named by {id} that torch does not write.");
        }

        string name = $"{prefix}data/{key}";
        return zip.Entries.TryGetValue(name, out ZipEntry entry) && elements >= 0 && elements <= entry.Length / dtype.Size()
            ? new TorchStorage(key, dtype, elements, zip.File.AddressOf(entry.Offset, entry.Length))
            : throw new OpenElmException($"{zip.File.Path} is truncated or damaged: there is no {(name.Length < 100 ? name : "file")} with {elements} elements of {dtype}.");
    }
}
