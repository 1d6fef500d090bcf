using System.Collections;
using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace OpenElm.Yaml;

/// <summary>Writes a record in the form that <see cref="YamlBinder"/> reads, every key included.</summary>
internal sealed class YamlWriter(IEmitter emitter, YamlConverters converters)
{
    public static string Write(object configuration, YamlConverters converters)
    {
        using var text = new StringWriter { NewLine = "\n" };
        var emitter = new Emitter(text, new EmitterSettings(bestIndent: 2, bestWidth: int.MaxValue, isCanonical: false, maxSimpleKeyLength: 1024));
        emitter.Emit(new StreamStart());
        emitter.Emit(new DocumentStart());
        new YamlWriter(emitter, converters).WriteValue(configuration);
        emitter.Emit(new DocumentEnd(isImplicit: true));
        emitter.Emit(new StreamEnd());
        return text.ToString();
    }

    void WriteValue(object? value)
    {
        if (value is not null && converters.TryGet(value.GetType(), out var converter))
        {
            WritePlain(converter.Write(value));
        }
        else
        {
            WritePlain(value);
        }
    }

    void WritePlain(object? value)
    {
        switch (value)
        {
            case null:
                WriteText("null", ScalarStyle.Plain);
                break;
            case string text:
                WriteText(text, new YamlScalar(text, IsQuoted: false, default).ToPlain() is string ? ScalarStyle.Any : ScalarStyle.DoubleQuoted);
                break;
            case bool truth:
                WriteText(truth ? "true" : "false", ScalarStyle.Plain);
                break;
            case double or float:
                WriteText(FormatNumber((IFormattable)value), ScalarStyle.Plain);
                break;
            case Enum member:
                WriteText(RecordShape.NameOf(member.GetType().GetField(member.ToString())!), ScalarStyle.Plain);
                break;
            case int or long:
                WriteText(((IFormattable)value).ToString(null, CultureInfo.InvariantCulture), ScalarStyle.Plain);
                break;
            case IDictionary dictionary:
                WriteDictionary(dictionary);
                break;
            case IEnumerable list:
                WriteList(list);
                break;
            default:
                WriteRecord(value);
                break;
        }
    }

    void WriteRecord(object record)
    {
        emitter.Emit(new MappingStart());
        foreach (RecordKey key in RecordShape.Of(record.GetType()).Keys)
        {
            WriteText(key.Key, ScalarStyle.Any);
            WriteValue(key.Property.GetValue(record));
        }

        emitter.Emit(new MappingEnd());
    }

    void WriteDictionary(IDictionary dictionary)
    {
        emitter.Emit(new MappingStart());
        foreach (DictionaryEntry entry in dictionary)
        {
            WriteText((string)entry.Key, ScalarStyle.Any);
            WriteValue(entry.Value);
        }

        emitter.Emit(new MappingEnd());
    }

    void WriteList(IEnumerable list)
    {
        bool isDefault = list.GetType() is { IsValueType: true } type && list.Equals(Activator.CreateInstance(type)); // an ImmutableArray never set
        object?[] items = isDefault ? [] : [.. list.Cast<object?>()];
        bool fitsOneLine = items.All(item => item is int or long or double or float or bool);
        emitter.Emit(new SequenceStart(AnchorName.Empty, TagName.Empty, isImplicit: true, fitsOneLine ? SequenceStyle.Flow : SequenceStyle.Block));
        foreach (object? item in items)
        {
            WriteValue(item);
        }

        emitter.Emit(new SequenceEnd());
    }

    void WriteText(string text, ScalarStyle style) =>
        emitter.Emit(new Scalar(AnchorName.Empty, TagName.Empty, text, style, isPlainImplicit: true, isQuotedImplicit: true));

    static string FormatNumber(IFormattable number)
    {
        string text = number.ToString("R", CultureInfo.InvariantCulture);
        return text switch { "Infinity" => ".inf", "-Infinity" => "-.inf", "NaN" => ".nan", _ => text.ToLowerInvariant() };
    }
}
