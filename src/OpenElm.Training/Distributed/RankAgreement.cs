using System.IO.Hashing;
using System.Text;
using System.Text.Json;
using OpenElm.Diagnostics;
using OpenElm.Distributed;
using OpenElm.Yaml;

namespace OpenElm.Training.Distributed;

/// <summary>Refuses ranks that would not do the same: another program, configuration or data.</summary>
internal static class RankAgreement
{
    /// <summary>Compares what the ranks are about to do.</summary>
    /// <param name="group">The ranks; null for a process that is alone.</param>
    /// <param name="run">This rank's configuration.</param>
    /// <param name="position">Its position in the data, whose fingerprint covers files, settings and tokenizer.</param>
    /// <exception cref="OpenElmException">Ranks differ.</exception>
    public static void Require(IProcessGroup? group, ITrainingConfig run, string position)
    {
        if (group is null)
        {
            return;
        }

        group.Patience = TimeSpan.FromSeconds(run.Distributed.TimeoutSeconds);
        foreach ((string what, string text) in new[] { ("version of openelm", Machine.ProgramVersion), ("configuration", StrictYaml.Write(run)), ("data", FingerprintOf(position)) })
        {
            string[] all = group.AllGather(Convert.ToHexStringLower(XxHash3.Hash(Encoding.UTF8.GetBytes(text))));
            int[] others = [.. Enumerable.Range(0, group.Size).Where(rank => all[rank] != all[0])];
            if (others is not [])
            {
                throw new OpenElmException($"Ranks differ in their {what}: {string.Join(", ", others.Select(rank => $"rank {rank} ({group.Hosts[rank]})"))} from rank 0 ({group.Hosts[0]}); start all of them with the same program, arguments and files.");
            }
        }
    }

    static string FingerprintOf(string position)
    {
        using JsonDocument document = JsonDocument.Parse(position);
        return string.Join('\n', document.RootElement.EnumerateObject().Where(entry => !entry.Name.Equals("shards", StringComparison.OrdinalIgnoreCase)).Select(entry => entry.ToString()));
    }
}
