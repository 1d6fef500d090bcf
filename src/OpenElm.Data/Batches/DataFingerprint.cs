using System.Collections.Immutable;
using System.IO.Hashing;
using System.Text;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data;

/// <summary>Hashes of everything that the order and content of batches depends on.</summary>
/// <param name="Configuration">Mode, lengths, filters, shards, shuffle, seed and batch size.</param>
/// <param name="Files">Names, text keys and lengths of the files, in order.</param>
/// <param name="Tokenizer">The tokenizer's model.</param>
public sealed record DataFingerprint(string Configuration, string Files, string Tokenizer)
{
    internal static DataFingerprint Of(DataConfig config, ImmutableArray<DataFile> files, ITextEncoder encoder, int microBatch) => new(
        Hash($"{TextSettings(config)}|{config.SequenceLength}|{config.Shards}|{config.ShuffleData}|{config.RandomSeed}|{microBatch}"),
        OfFiles(files),
        encoder.Fingerprint);

    static string TextSettings(DataConfig config) =>
        string.Join('|', PreparedManifest.SettingsOf(config).Select(setting => $"{setting.Key}={setting.Value}"));

    static string OfFiles(ImmutableArray<DataFile> files)
    {
        var text = new StringBuilder();
        foreach (DataFile file in files)
        {
            text.Append(file.Name).Append('\0').Append(file.TextKey).Append('\0').Append(file.Length).Append('\n');
        }

        return Hash(text.ToString());
    }

    internal static string Hash(string text) => Hash(Encoding.UTF8.GetBytes(text));

    internal static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(XxHash3.Hash(bytes));

    /// <summary>Names what differs, or null if nothing does.</summary>
    internal string? DifferenceTo(DataFingerprint other)
    {
        List<string> parts = [];
        if (Files != other.Files)
        {
            parts.Add("other data files (names, text keys, sizes or their order)");
        }

        if (Configuration != other.Configuration)
        {
            parts.Add("other data settings (mode, lengths, filters, shards, shuffle, seed or batch size)");
        }

        if (Tokenizer != other.Tokenizer)
        {
            parts.Add("another tokenizer");
        }

        return parts is [] ? null : string.Join(" and ", parts);
    }
}
