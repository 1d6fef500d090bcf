using System.Collections.Immutable;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using OpenElm.Chat;
using OpenElm.Data.Preferences;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>What became of the records.</summary>
/// <param name="Records">Records read.</param>
/// <param name="Bad">Left out, because a field or a response is missing.</param>
/// <param name="Equal">Left out, because the responses are equal, perhaps only after they were cut.</param>
/// <param name="Contaminated">Left out, because the chosen response holds a problem of <see cref="PreferenceConfig.ContaminationFiles"/>.</param>
/// <param name="TruncatedPrompts">Pairs whose prompt lost its beginning.</param>
/// <param name="TruncatedResponses">Pairs of which a response lost its end.</param>
public sealed record PreferenceStatistics(int Records, int Bad, int Equal, int Contaminated, int TruncatedPrompts, int TruncatedResponses);

/// <summary>All pairs of a run, tokenized, in the order of the files.</summary>
/// <param name="Pairs">The pairs; at least one.</param>
/// <param name="Statistics">What became of the records.</param>
public sealed record PreferenceSet(ImmutableArray<PreferencePair> Pairs, PreferenceStatistics Statistics)
{
    /// <summary>Reads the records of a configuration.</summary>
    /// <param name="config">What to read and how.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="template">Turns conversations into texts.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The pairs.</returns>
    /// <exception cref="OpenElmException">A file or record is wrong, or none is left; the message names the file and the record.</exception>
    public static PreferenceSet Read(PreferenceConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, ChatTemplate template, CancellationToken cancel = default) =>
        new PreferenceReader(config, tokenizer, template).Read(baseDirectory, cancel);

    /// <summary>XxHash3 of all tokens and of where prompts end.</summary>
    /// <returns>Lower-case hexadecimal.</returns>
    public string Fingerprint()
    {
        var hash = new XxHash3();
        foreach (PreferencePair pair in Pairs)
        {
            foreach (ImmutableArray<int> ids in (ReadOnlySpan<ImmutableArray<int>>)[pair.Prompt, pair.Chosen, pair.Rejected])
            {
                hash.Append(BitConverter.GetBytes(ids.Length));
                hash.Append(MemoryMarshal.AsBytes(ids.AsSpan()));
            }
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }
}
