using System.Collections.Immutable;
using System.CommandLine;
using OpenElm.Inference;

namespace OpenElm.Commands;

/// <summary>Adapters that are applied beside the weights of a model.</summary>
internal sealed class AdapterArguments
{
    readonly Option<string[]> _adapters = new("--adapter") { Description = "A LoRA or DoRA adapter to apply beside the weights: a folder in PEFT's layout, or CoreNet's file; may be given several times", DefaultValueFactory = _ => [] };
    readonly Option<double[]> _scales = new("--adapter-scale") { Description = "How strongly, 1 as trained; once for each --adapter, in their order", DefaultValueFactory = _ => [] };

    public void AddTo(Command command)
    {
        command.Options.Add(_adapters);
        command.Options.Add(_scales);
    }

    /// <exception cref="OpenElmException">There are scales, but not one for each adapter.</exception>
    public ImmutableArray<AdapterPath> Read(ParseResult parsed) => Pair(parsed.GetValue(_adapters) ?? [], parsed.GetValue(_scales) ?? [], "--adapter-scale");

    /// <summary>Puts adapters and scales together.</summary>
    /// <param name="paths">The adapters.</param>
    /// <param name="scales">One for each, or none.</param>
    /// <param name="option">The option of the scales, for the message.</param>
    public static ImmutableArray<AdapterPath> Pair(string[] paths, double[] scales, string option) => scales.Length == 0 || scales.Length == paths.Length
        ? [.. paths.Select((path, i) => new AdapterPath(path, scales.Length == 0 ? 1 : scales[i]))]
        : throw new OpenElmException($"There are {paths.Length} adapters and {scales.Length} scales; give {option} once for each adapter, or not at all.");
}
