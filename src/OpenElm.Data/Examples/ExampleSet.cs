using System.Collections.Immutable;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using OpenElm.Chat;
using OpenElm.Data.Examples;
using OpenElm.Tokenization;

namespace OpenElm.Data;

/// <summary>What became of the records.</summary>
/// <param name="Records">Records read.</param>
/// <param name="Bad">Left out, because a field or a response is missing.</param>
/// <param name="TooLong">Left out, because they are longer than a sequence.</param>
/// <param name="Truncated">Cut to the length of a sequence.</param>
public sealed record ExampleStatistics(int Records, int Bad, int TooLong, int Truncated);

/// <summary>All examples of a run, tokenized, in the order of the files.</summary>
/// <param name="Examples">The examples; at least one.</param>
/// <param name="Statistics">What became of the records.</param>
public sealed record ExampleSet(ImmutableArray<TokenizedExample> Examples, ExampleStatistics Statistics)
{
    /// <summary>Reads the records of a configuration.</summary>
    /// <param name="config">What to read and how.</param>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="tokenizer">Turns texts into tokens.</param>
    /// <param name="template">The chat template; null writes instructions by the template of openelm.md 8.3.</param>
    /// <param name="sequenceLength">Positions of the longest sequence.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <returns>The examples.</returns>
    /// <exception cref="OpenElmException">A file or record is wrong, or none is left; the message names the file and the record.</exception>
    public static ExampleSet Read(ExampleConfig config, string baseDirectory, SentencePieceTokenizer tokenizer, ChatTemplate? template, int sequenceLength, CancellationToken cancel = default) =>
        new ExampleReader(config, tokenizer, template, sequenceLength).Read(baseDirectory, cancel);

    /// <summary>XxHash3 of all tokens and of what the loss looks at.</summary>
    /// <returns>Lower-case hexadecimal.</returns>
    public string Fingerprint()
    {
        var hash = new XxHash3();
        foreach (TokenizedExample example in Examples)
        {
            hash.Append(BitConverter.GetBytes(example.Ids.Length));
            hash.Append(MemoryMarshal.AsBytes(example.Ids.AsSpan()));
            hash.Append(MemoryMarshal.AsBytes(example.InLoss.AsSpan()));
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }
}
