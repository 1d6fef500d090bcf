using System.Collections.Immutable;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;

namespace OpenElm.Verification.Conversion;

/// <summary>
/// Compares a converted model with its source: the architectures field by field, the weights one by one, and what both compute
/// for the same fixed tokens. Source and result are run one after the other, so that one of them is in memory at a time.
/// </summary>
public static class ConversionCheck
{
    /// <summary>Compares what was written.</summary>
    /// <param name="source">The source.</param>
    /// <param name="content">What was to be written.</param>
    /// <param name="written">The file or folder.</param>
    /// <param name="runsModels">Whether both are run; without, only architectures and weights are compared, which needs little memory.</param>
    /// <param name="options">How they are run.</param>
    /// <returns>The figures.</returns>
    /// <exception cref="OpenElmException">The source cannot be run, or what was written cannot be opened.</exception>
    public static ConversionReport Run(Checkpoint source, ModelContent content, string written, bool runsModels = true, InferenceOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(content);
        using var result = Checkpoint.Open(written);
        var report = new ConversionReport(Differences(source.Config, content.Config.VocabSize, result.Config), ConversionAllowance.Of(source, content));
        if (report.Differences is not [])
        {
            return report;
        }

        report = report with { WorstWeight = WeightCheck.Worst(source, result) };
        return runsModels ? report with { Logits = CompareLogits(source, content, written, options) } : report;
    }

    static LogitErrors CompareLogits(Checkpoint source, ModelContent content, string written, InferenceOptions? options)
    {
        ProbeLogits logits;
        // A model owns its checkpoint, so it gets one of its own.
        using (var model = OpenElmModel.Create(Checkpoint.Open(source.Path, source.Format == CheckpointFormat.CoreNet ? source.Config : null), options))
        {
            logits = ProbeLogits.Of(model, content.Config.VocabSize);
        }

        using var converted = OpenElmModel.Load(written, options);
        return logits.Compare(converted);
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
