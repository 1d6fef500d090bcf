using OpenElm.Configuration;

namespace OpenElm.Checkpoints;

/// <summary>CoreNet's weight names ↔ those of Hugging Face's OpenELM class and mlx-lm: the prefix <c>transformer.</c>, and <c>lm_head</c> for an untied head.</summary>
public static class HuggingFaceNames
{
    const string Prefix = "transformer.";
    const string Head = "lm_head.", CoreNetHead = "classifier.";

    /// <summary>CoreNet's name to Hugging Face's.</summary>
    /// <param name="coreNet">For example <c>layers.0.attn.qkv_proj.weight</c>.</param>
    /// <returns>For example <c>transformer.layers.0.attn.qkv_proj.weight</c>.</returns>
    public static string FromCoreNet(string coreNet) => coreNet == TensorNames.Classifier ? Head + "weight" : Prefix + coreNet;

    /// <summary>Hugging Face's or CoreNet's name to CoreNet's.</summary>
    /// <param name="name">Either form.</param>
    /// <returns>CoreNet's name.</returns>
    public static string ToCoreNet(string name) =>
        name.StartsWith(Head, StringComparison.Ordinal) ? CoreNetHead + name[Head.Length..] // a quantised head has scales and biases too
        : name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..]
        : name;
}
