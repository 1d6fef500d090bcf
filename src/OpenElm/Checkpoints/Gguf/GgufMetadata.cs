using System.Collections.Immutable;
using System.Globalization;

namespace OpenElm.Checkpoints.Gguf;

/// <summary>The typed key–value pairs of a GGUF file. Wrong types and missing keys are the file's fault and named.</summary>
/// <param name="path">The file, for messages.</param>
/// <param name="values">Boxed numbers, booleans and strings, and arrays of them (<c>int[]</c>, <c>string[]</c>, …).</param>
internal sealed class GgufMetadata(string path, ImmutableDictionary<string, object> values)
{
    public IEnumerable<string> Keys => values.Keys;

    public string? String(string key) => Find(key) switch
    {
        null => null,
        string text => text,
        object other => throw Wrong(key, other, "a string"),
    };

    public bool? Bool(string key) => Find(key) switch
    {
        null => null,
        bool value => value,
        object other => throw Wrong(key, other, "true or false"),
    };

    public int? Int(string key) => Find(key) is { } value ? AsInt(key, value) : null;

    public int RequiredInt(string key) => Int(key) ?? throw Missing(key);

    /// <summary>A fraction; floats become the shortest decimal that means them, so that 1e-6 stays 1e-6.</summary>
    public double? Number(string key) => Find(key) switch
    {
        null => null,
        float value => double.Parse(value.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
        double value => value,
        object other => throw Wrong(key, other, "a floating-point number"),
    };

    /// <summary>One number for each layer, or one for all of them.</summary>
    public ImmutableArray<int>? PerLayer(string key, int layers)
    {
        object? value = Find(key);
        if (value is null)
        {
            return null;
        }

        if (value is not Array array)
        {
            return [.. Enumerable.Repeat(AsInt(key, value), layers)];
        }

        return array.Length == layers
            ? [.. array.Cast<object>().Select(item => AsInt(key, item))]
            : throw new OpenElmException($"{path}: {key} lists {array.Length} layers; the model has {layers}.");
    }

    public T[]? Array<T>(string key) => Find(key) switch
    {
        null => null,
        T[] array => array,
        object other => throw Wrong(key, other, $"an array of {typeof(T).Name}"),
    };

    public OpenElmException Missing(string key) => new($"{path} has no metadata {key}, which an OpenELM needs.");

    object? Find(string key) => values.GetValueOrDefault(key);

    int AsInt(string key, object value) => value switch
    {
        byte number => number,
        sbyte number => number,
        ushort number => number,
        short number => number,
        int number => number,
        uint number and <= int.MaxValue => (int)number,
        long number and >= int.MinValue and <= int.MaxValue => (int)number,
        ulong number and <= int.MaxValue => (int)number,
        _ => throw Wrong(key, value, "a whole number below 2^31"),
    };

    OpenElmException Wrong(string key, object value, string expected) =>
        new($"{path}: the metadata {key} is {(value is System.Array array ? $"an array of {array.Length}" : value)}; it must be {expected}.");
}
