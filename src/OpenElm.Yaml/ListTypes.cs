using System.Collections;
using System.Collections.Immutable;

namespace OpenElm.Yaml;

/// <summary>Which list and dictionary types a record may have, and how to make them.</summary>
internal static class ListTypes
{
    public static bool IsList(Type type, out Type element)
    {
        element = type.IsArray ? type.GetElementType()! : type.IsGenericType ? type.GetGenericArguments()[0] : type;
        return type.IsArray || (type.IsGenericType && type.GetGenericTypeDefinition() is { } open
            && (open == typeof(ImmutableArray<>) || open == typeof(IReadOnlyList<>) || open == typeof(List<>) || open == typeof(ImmutableList<>)));
    }

    public static bool IsDictionary(Type type, out Type value)
    {
        Type[] arguments = type.IsGenericType ? type.GetGenericArguments() : [];
        value = arguments.Length == 2 ? arguments[1] : type;
        return arguments.Length == 2 && arguments[0] == typeof(string) && type.GetGenericTypeDefinition() is { } open
            && (open == typeof(ImmutableDictionary<,>) || open == typeof(IReadOnlyDictionary<,>)
                || open == typeof(Dictionary<,>) || open == typeof(ImmutableSortedDictionary<,>));
    }

    public static object MakeList(Type type, Type element, IReadOnlyList<object?> items)
    {
        var array = Array.CreateInstance(element, items.Count);
        for (int i = 0; i < items.Count; i++)
        {
            array.SetValue(items[i], i);
        }

        return type.IsArray || type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>)
            ? array
            : Make(type.GetGenericTypeDefinition() == typeof(ImmutableArray<>) ? nameof(MakeImmutableArray)
                : type.GetGenericTypeDefinition() == typeof(List<>) ? nameof(MakeMutableList) : nameof(MakeImmutableList), element, array);
    }

    public static object MakeDictionary(Type type, Type value, IEnumerable<KeyValuePair<string, object?>> entries)
    {
        var dictionary = (IDictionary)Activator.CreateInstance(typeof(Dictionary<,>).MakeGenericType(typeof(string), value))!;
        foreach ((string key, object? item) in entries)
        {
            dictionary.Add(key, item);
        }

        Type open = type.GetGenericTypeDefinition();
        return open == typeof(ImmutableDictionary<,>) ? Make(nameof(MakeImmutableDictionary), value, dictionary)
            : open == typeof(ImmutableSortedDictionary<,>) ? Make(nameof(MakeSortedDictionary), value, dictionary)
            : dictionary;
    }

    static object Make(string method, Type argument, object source) =>
        typeof(ListTypes).GetMethod(method, System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Static)!
            .MakeGenericMethod(argument).Invoke(null, [source])!;

    static ImmutableArray<T> MakeImmutableArray<T>(T[] items) => items.ToImmutableArray();

    static ImmutableList<T> MakeImmutableList<T>(T[] items) => items.ToImmutableList();

    static List<T> MakeMutableList<T>(T[] items) => items.ToList();

    static ImmutableDictionary<string, T> MakeImmutableDictionary<T>(Dictionary<string, T> items) => items.ToImmutableDictionary();

    static ImmutableSortedDictionary<string, T> MakeSortedDictionary<T>(Dictionary<string, T> items) => items.ToImmutableSortedDictionary(StringComparer.Ordinal);
}
