using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using OpenElm.Checkpoints;
using OpenElm.Training.Objectives;

namespace OpenElm.Training;

/// <summary>
/// Keeps a reference model's log-probabilities in files: safetensors with <c>chosen</c> and <c>rejected</c>, [pairs] F32 each, named after
/// what they depend on (weights, pairs, number format) and checked by a checksum of their contents.
/// </summary>
/// <param name="folder">Where the files are.</param>
internal sealed class ReferenceCache(string folder)
{
    const string KeyEntry = "key", ChecksumEntry = "xxh3";

    /// <summary>What log-probabilities depend on, as text.</summary>
    /// <param name="weights">Checksum of the model's weights.</param>
    /// <param name="pairs">Checksum of the pairs.</param>
    /// <param name="run">Its number formats count.</param>
    public static string KeyOf(string weights, string pairs, ITuningConfig run) =>
        $"weights {weights}{(run.BaseWeights is null ? "" : $" in {run.BaseWeights}")}, pairs {pairs}, {run.Trainer.Precision.ToString().ToLowerInvariant()}";

    /// <summary>The file of a key.</summary>
    /// <param name="key">From <see cref="KeyOf"/>.</param>
    public string FileOf(string key) => Path.Combine(folder, $"{Convert.ToHexStringLower(XxHash3.Hash(Encoding.UTF8.GetBytes(key)))}.safetensors");

    /// <summary>Reads what is stored.</summary>
    /// <param name="key">From <see cref="KeyOf"/>.</param>
    /// <param name="count">The number of pairs.</param>
    /// <param name="log">Told why a file that is there is not used.</param>
    /// <returns>The log-probabilities, or null.</returns>
    public ReferenceLogProbabilities? Find(string key, int count, Action<string> log)
    {
        string path = FileOf(key);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using SafetensorsFile file = SafetensorsFile.Open(path);
            float[] chosen = file["chosen"].ToFloats(), rejected = file["rejected"].ToFloats();
            if (chosen.Length == count && rejected.Length == count && file.Metadata.GetValueOrDefault(KeyEntry) == key && file.Metadata.GetValueOrDefault(ChecksumEntry) == Checksum(chosen, rejected))
            {
                return new([.. chosen.Zip(rejected, (c, r) => new PairLogProbabilities(c, r))]);
            }

            log($"The reference log-probabilities in {path} do not have their checksum; they are computed anew.");
        }
        catch (OpenElmException damage)
        {
            log($"The reference log-probabilities cannot be read and are computed anew: {damage.Message}");
        }

        return null;
    }

    /// <summary>Stores them.</summary>
    /// <param name="key">From <see cref="KeyOf"/>.</param>
    /// <param name="reference">The log-probabilities.</param>
    public void Store(string key, ReferenceLogProbabilities reference)
    {
        float[] chosen = [.. reference.Pairs.Select(pair => pair.Chosen)], rejected = [.. reference.Pairs.Select(pair => pair.Rejected)];
        Directory.CreateDirectory(folder);
        SafetensorsWriter.Write(
            FileOf(key),
            [TensorSource.Of("chosen", [chosen.Length], chosen), TensorSource.Of("rejected", [rejected.Length], rejected)],
            new Dictionary<string, string> { [KeyEntry] = key, [ChecksumEntry] = Checksum(chosen, rejected) });
    }

    static string Checksum(float[] chosen, float[] rejected)
    {
        var hash = new XxHash3();
        hash.Append(MemoryMarshal.AsBytes(chosen.AsSpan()));
        hash.Append(MemoryMarshal.AsBytes(rejected.AsSpan()));
        return hash.GetCurrentHashAsUInt64().ToString("x16", CultureInfo.InvariantCulture);
    }
}
