using System.Globalization;
using System.IO.Hashing;
using System.Text;
using OpenElm.Adapters;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Inference;

namespace OpenElm.Evaluation.Engine;

/// <summary>
/// What the log-probabilities of given tokens depend on: the architecture, every byte of every weight and of adapters beside them, how many ids share the probability, and the runtime
/// where its bits differ. Hashing reads the weights once, as fast as memory or the disk gives them.
/// </summary>
public static class ModelFingerprint
{
    /// <summary>The runtime on the CPU: kernel sets and types of the KV cache give different bits, numbers of threads do not.</summary>
    /// <param name="model">The model.</param>
    /// <returns>Its runtime.</returns>
    public static string RuntimeOf(OpenElmModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return $"cpu {model.KernelName} {model.KvCacheType}";
    }

    /// <summary>Hashes a model.</summary>
    /// <param name="checkpoint">Its files.</param>
    /// <param name="candidates">Ids below this share the probability.</param>
    /// <param name="runtime">What computes it: <see cref="RuntimeOf"/>, or the name, device and precision of another.</param>
    /// <param name="adapters">What is applied beside the weights; null is nothing.</param>
    /// <returns>32 hexadecimal digits.</returns>
    public static string Of(Checkpoint checkpoint, int candidates, string runtime, IReadOnlyList<ScaledAdapter>? adapters = null)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        var hash = new XxHash128();
        Append(OpenElmConfigJson.Write(checkpoint.Config));
        Append(candidates.ToString(CultureInfo.InvariantCulture));
        Append(runtime);
        foreach ((string name, StoredWeight weight) in checkpoint.Weights.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            foreach (TensorView part in weight.Parts)
            {
                AppendTensor(name, part);
            }
        }

        foreach ((Adapter adapter, double scale) in adapters ?? [])
        {
            foreach (AdapterWeights weights in adapter.Modules)
            {
                Append(string.Create(CultureInfo.InvariantCulture, $"{weights.Module.Name} {weights.Module.Scaling * scale:R}"));
                foreach (AdapterPart part in weights.Module.Parts)
                {
                    AppendTensor(part.ToString(), weights[part]);
                }
            }
        }

        return hash.GetCurrentHashAsUInt128().ToString("x32", CultureInfo.InvariantCulture);

        void AppendTensor(string name, TensorView tensor)
        {
            Append($"{name} {tensor.DType} {string.Join(',', tensor.Shape)}");
            using UnmanagedMemoryStream bytes = tensor.OpenRead();
            hash.Append(bytes);
        }

        void Append(string text) => hash.Append(Encoding.UTF8.GetBytes(text + "\n"));
    }
}
