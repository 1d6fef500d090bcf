using System.Collections.Immutable;
using OpenElm.Configuration;

namespace OpenElm.Yaml;

/// <summary>
/// Types that a file may write in more than one form, such as "a number, a pair or a list". A converter sees plain values:
/// null, <see cref="bool"/>, <see cref="long"/>, <see cref="double"/>, <see cref="string"/>,
/// <c>IReadOnlyList&lt;object?&gt;</c> and <c>IReadOnlyDictionary&lt;string, object?&gt;</c>.
/// </summary>
public sealed class YamlConverters
{
    readonly ImmutableDictionary<Type, (Func<object?, object> Read, Func<object, object?> Write)> _byType;

    YamlConverters(ImmutableDictionary<Type, (Func<object?, object> Read, Func<object, object?> Write)> byType) => _byType = byType;

    /// <summary>No converter at all.</summary>
    public static YamlConverters None { get; } = new(ImmutableDictionary<Type, (Func<object?, object>, Func<object, object?>)>.Empty);

    /// <summary>The converters of this library's own configurations.</summary>
    public static YamlConverters Default { get; } = None
        .With(ReadMultipliers, multipliers => multipliers.Values is [double single] ? single : multipliers.Values.Cast<object?>().ToList());

    /// <summary>Adds a converter.</summary>
    /// <typeparam name="T">The type it makes.</typeparam>
    /// <param name="read">Makes a value, or throws <see cref="OpenElmException"/> whose message follows the path: <c>must be a number, a pair or a list.</c></param>
    /// <param name="write">The plain value that <paramref name="read"/> turns into an equal one.</param>
    /// <returns>A larger set.</returns>
    public YamlConverters With<T>(Func<object?, T> read, Func<T, object?> write)
        where T : notnull =>
        new(_byType.SetItem(typeof(T), (plain => read(plain), value => write((T)value))));

    internal bool TryGet(Type type, out (Func<object?, object> Read, Func<object, object?> Write) converter) =>
        _byType.TryGetValue(type, out converter);

    static Multipliers ReadMultipliers(object? plain)
    {
        IReadOnlyList<object?> numbers = plain as IReadOnlyList<object?> ?? [plain];
        return numbers is not [] && numbers.All(n => n is long or double)
            ? Multipliers.Of([.. numbers.Select(Convert.ToDouble)])
            : throw new OpenElmException("must be a number, a pair of numbers, or one number for each layer.");
    }
}
