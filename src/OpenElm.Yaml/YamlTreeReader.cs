using System.Collections.Immutable;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace OpenElm.Yaml;

/// <summary>
/// Builds the tree from YamlDotNet's parser events. Its own document model stops at the first doubled key and leaves merge
/// keys alone; this one reports every doubled key and merges.
/// </summary>
internal sealed class YamlTreeReader
{
    readonly IParser _parser;
    readonly string _name;
    readonly YamlProblems _problems;
    readonly Dictionary<string, YamlNode> _anchors = [];

    YamlTreeReader(IParser parser, string name, YamlProblems problems) => (_parser, _name, _problems) = (parser, name, problems);

    /// <summary>Reads the one document of a text; an empty text is an empty section.</summary>
    public static YamlNode Read(string yaml, string name, YamlProblems problems)
    {
        try
        {
            var reader = new YamlTreeReader(new Parser(new StringReader(yaml)), name, problems);
            return reader.ReadDocument();
        }
        catch (YamlException broken)
        {
            throw new OpenElmException($"{new YamlPlace(name, (int)broken.Start.Line)}: this is not valid YAML: {broken.Message}", broken);
        }
    }

    YamlNode ReadDocument()
    {
        _parser.Consume<StreamStart>();
        if (_parser.TryConsume<StreamEnd>(out _))
        {
            return new YamlMap([], new YamlPlace(_name, 1));
        }

        _parser.Consume<DocumentStart>();
        YamlNode root = ReadNode();
        _parser.Consume<DocumentEnd>();
        if (_parser.TryConsume<DocumentStart>(out var second))
        {
            _problems.Add(PlaceOf(second), "a second document begins here; a configuration is one document.");
        }

        return root is YamlScalar { IsNull: true } ? new YamlMap([], root.Place) : root;
    }

    YamlNode ReadNode()
    {
        if (_parser.TryConsume<AnchorAlias>(out var alias))
        {
            return _anchors.TryGetValue(alias.Value.Value, out YamlNode? target)
                ? target
                : throw new YamlException(alias.Start, alias.End, $"the anchor *{alias.Value.Value} is not defined above.");
        }

        if (!_parser.Accept<NodeEvent>(out var start))
        {
            throw new YamlException("a value was expected.");
        }

        AnchorName anchor = start.Anchor;
        YamlNode node = start switch
        {
            Scalar => ReadScalar(),
            SequenceStart => ReadList(),
            _ => ReadMap(),
        };
        if (!anchor.IsEmpty)
        {
            _anchors[anchor.Value] = node;
        }

        return node;
    }

    YamlScalar ReadScalar()
    {
        Scalar scalar = _parser.Consume<Scalar>();
        return new YamlScalar(scalar.Value, scalar.Style != ScalarStyle.Plain, PlaceOf(scalar));
    }

    YamlList ReadList()
    {
        YamlPlace place = PlaceOf(_parser.Consume<SequenceStart>());
        var items = ImmutableArray.CreateBuilder<YamlNode>();
        while (!_parser.TryConsume<SequenceEnd>(out _))
        {
            items.Add(ReadNode());
        }

        return new YamlList(items.ToImmutable(), place);
    }

    YamlMap ReadMap()
    {
        var map = new YamlMap([], PlaceOf(_parser.Consume<MappingStart>()));
        var merged = new List<YamlNode>();
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            YamlNode key = ReadNode();
            YamlNode value = ReadNode();
            if (key is not YamlScalar { Text: var name } scalar)
            {
                _problems.Add(key.Place, $"a key must be plain text, but this one is {key.Describe()}.");
            }
            else if (name == "<<" && !scalar.IsQuoted)
            {
                merged.AddRange(value is YamlList list ? list.Items : [value]);
            }
            else if (map.IndexOf(name) is >= 0 and int first)
            {
                _problems.Add(key.Place, $"{name} stands here again; it was first written in line {map.Entries[first].Place.Line}. Remove one.");
            }
            else
            {
                map = map.With(new YamlEntry(name, value, key.Place));
            }
        }

        return Merge(map, merged);
    }

    /// <summary>Adds the keys of merged sections that the section itself, or an earlier merged one, does not have.</summary>
    YamlMap Merge(YamlMap map, List<YamlNode> merged)
    {
        foreach (YamlNode node in merged)
        {
            if (node is not YamlMap section)
            {
                _problems.Add(node.Place, $"<< merges a section, but this is {node.Describe()}.");
                continue;
            }

            foreach (YamlEntry entry in section.Entries)
            {
                map = map.IndexOf(entry.Key) < 0 ? map.With(entry) : map;
            }
        }

        return map;
    }

    YamlPlace PlaceOf(ParsingEvent at) => new(_name, (int)at.Start.Line);
}
