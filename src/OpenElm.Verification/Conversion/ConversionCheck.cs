using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;

namespace OpenElm.Verification.Conversion;

/// <summary>
/// Compares a converted model with its source: the architectures field by field, the weights one by one, and what both compute
/// for the same fixed tokens.
/// </summary>
public sealed class ConversionCheck
{
    readonly Checkpoint _source;
    readonly ModelContent _content;
    readonly InferenceOptions? _options;
    readonly ProbeLogits? _logits;

    ConversionCheck(Checkpoint source, ModelContent content, ProbeLogits? logits, InferenceOptions? options) =>
        (_source, _content, _logits, _options) = (source, content, logits, options);

    /// <summary>Runs the source, before the result is written.</summary>
    /// <param name="source">The source; it must stay open.</param>
    /// <param name="content">What will be written.</param>
    /// <param name="runsModels">Whether both are run; without, only architectures and weights are compared, which needs little memory.</param>
    /// <param name="options">How they are run.</param>
    /// <returns>What to compare the result with.</returns>
    /// <exception cref="OpenElmException">The source cannot be run.</exception>
    public static ConversionCheck Of(Checkpoint source, ModelContent content, bool runsModels = true, InferenceOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(content);
        if (!runsModels)
        {
            return new ConversionCheck(source, content, null, options);
        }

        // The model owns its checkpoint, so it gets one of its own.
        using var model = OpenElmModel.Create(Checkpoint.Open(source.Path, source.Format == CheckpointFormat.CoreNet ? source.Config : null), options);
        return new ConversionCheck(source, content, ProbeLogits.Of(model, content.Config.VocabSize), options);
    }

    /// <summary>Compares what was written.</summary>
    /// <param name="path">The file or folder.</param>
    /// <returns>The figures.</returns>
    /// <exception cref="OpenElmException">It cannot be opened.</exception>
    public ConversionReport Compare(string path)
    {
        using var result = Checkpoint.Open(path);
        ImmutableArray<string> differences = Differences(_source.Config, _content.Config.VocabSize, result.Config);
        var report = new ConversionReport(differences, ConversionAllowance.Of(_source, _content));
        if (differences is not [])
        {
            return report;
        }

        report = report with { WorstWeight = WeightCheck.Worst(_source, result) };
        if (_logits is null)
        {
            return report;
        }

        using var model = OpenElmModel.Load(path, _options);
        return report with { Logits = _logits.Compare(model) };
    }

    // What changes the computation, whether or not it shows in the logits of these tokens.
    static ImmutableArray<string> Differences(OpenElmConfig before, int vocab, OpenElmConfig result)
    {
        var differences = ImmutableArray.CreateBuilder<string>();
        void Compare<T>(string what, T expected, T actual)
        {
            if (!EqualityComparer<T>.Default.Equals(expected, actual))
            {
                differences.Add($"{what} is {actual} instead of {expected}");
            }
        }

        Compare("vocab_size", vocab, result.VocabSize);
        Compare("max_context_length", before.MaxContextLength, result.MaxContextLength);
        Compare("model_dim", before.ModelDim, result.ModelDim);
        Compare("head_dim", before.HeadDim, result.HeadDim);
        Compare("ffn_with_glu", before.FfnWithGlu, result.FfnWithGlu);
        Compare("normalize_qk_projections", before.NormalizeQkProjections, result.NormalizeQkProjections);
        Compare("share_input_output_layers", before.ShareInputOutputLayers, result.ShareInputOutputLayers);
        Compare("rope_freq_constant", (float)before.RopeFreqConstant, (float)result.RopeFreqConstant); // GGUF has floats
        Compare("rms_norm_eps", (float)before.RmsNormEps, (float)result.RmsNormEps);
        Compare("layers", string.Join(" ", before.Layers), string.Join(" ", result.Layers));
        return differences.ToImmutable();
    }
}
