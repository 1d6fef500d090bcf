using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace OpenElm.Yaml;

/// <summary>One key of a record's section.</summary>
/// <param name="Key">The name in the file.</param>
/// <param name="Property">The property it sets.</param>
/// <param name="IsRequired">Whether the file must have it.</param>
/// <param name="IsNullable">Whether it may be empty.</param>
internal sealed record RecordKey(string Key, PropertyInfo Property, bool IsRequired, bool IsNullable);

/// <summary>The keys of a record: its settable properties in declared order, renamed to snake_case.</summary>
internal sealed record RecordShape(ImmutableArray<RecordKey> Keys)
{
    static readonly ConcurrentDictionary<Type, RecordShape> Known = [];

    public static RecordShape Of(Type type) => Known.GetOrAdd(type, Read);

    /// <summary>The spelling of an enum value in a file.</summary>
    public static string NameOf(FieldInfo member) =>
        member.GetCustomAttribute<JsonStringEnumMemberNameAttribute>()?.Name ?? JsonNamingPolicy.SnakeCaseLower.ConvertName(member.Name);

    static RecordShape Read(Type type)
    {
        if (type.GetConstructor(Type.EmptyTypes) is null && !type.IsValueType)
        {
            throw new NotSupportedException($"{type} has no parameterless constructor: give it init properties or a converter.");
        }

        var nullability = new NullabilityInfoContext();
        return new RecordShape([
            .. type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(p => p.SetMethod is { IsPublic: true } && p.GetCustomAttribute<JsonIgnoreAttribute>() is null)
                .Select(p => new RecordKey(
                    p.GetCustomAttribute<JsonPropertyNameAttribute>()?.Name ?? JsonNamingPolicy.SnakeCaseLower.ConvertName(p.Name),
                    p,
                    p.GetCustomAttribute<RequiredMemberAttribute>() is not null,
                    nullability.Create(p).WriteState == NullabilityState.Nullable)),
        ]);
    }
}
