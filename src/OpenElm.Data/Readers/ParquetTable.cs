using System.Collections;
using Parquet.Serialization;

namespace OpenElm.Data.Readers;

/// <summary>
/// All rows of a small parquet file with all columns, structs and lists in them included: data of evaluation and tuning. Corpora are read column by column
/// (<see cref="ParquetDocumentReader"/>).
/// </summary>
internal static class ParquetTable
{
    /// <summary>Reads a file.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="file">What messages call it.</param>
    /// <returns>Rows of null, bool, long, double, string, <c>List&lt;object?&gt;</c> and <c>Dictionary&lt;string, object?&gt;</c>.</returns>
    /// <exception cref="OpenElmException">The file is damaged, or holds other types.</exception>
    public static List<Dictionary<string, object?>> Read(byte[] bytes, string file)
    {
        try
        {
            using var stream = new MemoryStream(bytes);
            var table = ParquetSerializer.DeserializeUntypedAsync(stream).GetAwaiter().GetResult();
            return [.. table.Data.Select((row, i) => Map(row, file, i + 1))];
        }
#pragma warning disable CA1031 // the parquet library's exceptions for damaged files are of many types; the cause is kept
        catch (Exception cause) when (cause is not (OutOfMemoryException or OpenElmException))
#pragma warning restore CA1031
        {
            throw new OpenElmException($"{file} is damaged or no parquet file: {cause.Message.TrimEnd('.')}; fetch it again.", cause);
        }
    }

    static object? Value(object? value, string file, long row) => value switch
    {
        null or string or bool or long or double => value,
        sbyte or byte or short or ushort or int or uint => Convert.ToInt64(value),
        float single => (double)single,
        ReadOnlyMemory<char> text => text.ToString(), // how the library hands out strings inside lists
        IDictionary map => Map(map, file, row),
        IEnumerable list => list.Cast<object?>().Select(item => Value(item, file, row)).ToList(),
        _ => throw new OpenElmException($"{file} row {row} holds a {value.GetType().Name}; known are texts, numbers, truth values, lists and structs."),
    };

    static Dictionary<string, object?> Map(IDictionary map, string file, long row)
    {
        var values = new Dictionary<string, object?>();
        foreach (DictionaryEntry entry in map)
        {
            values[(string)entry.Key] = Value(entry.Value, file, row);
        }

        return values;
    }
}
