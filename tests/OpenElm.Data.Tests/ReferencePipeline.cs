using System.Text.RegularExpressions;
using OpenElm.Data.Files;
using OpenElm.Data.Sharding;

namespace OpenElm.Data.Tests;

/// <summary>
/// The specification in plain loops over texts in memory: no reuse of readers, splitter, filters or carried tokens. Only the
/// dealing of files is shared; it has tests of its own.
/// </summary>
static class ReferencePipeline
{
    const string PythonPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

    /// <summary>Batch after batch, each as rows of sequenceLength + 1 tokens.</summary>
    public static IEnumerable<int[][]> Batches(DataConfig config, IReadOnlyDictionary<string, string[]> corpus, string root, int microBatch)
    {
        var shards = new ShardFiles(DataFile.Expand(config, root, LocalFiles.Instance), config);
        var rows = Enumerable.Range(0, config.Shards).Select(shard => Rows(config, corpus, shards, shard).GetEnumerator()).ToArray();
        for (int batch = 0; ; batch++)
        {
            IEnumerator<int[]> shard = rows[batch % config.Shards];
            var sequences = new int[microBatch][];
            for (int i = 0; i < microBatch; i++)
            {
                shard.MoveNext();
                sequences[i] = shard.Current;
            }

            yield return sequences;
        }
    }

    static IEnumerable<int[]> Rows(DataConfig config, IReadOnlyDictionary<string, string[]> corpus, ShardFiles shards, int shard)
    {
        int length = config.SequenceLength + 1;
        List<int> carried = [];
        for (long epoch = 0; ; epoch++)
        {
            foreach (DataFile file in shards.InEpoch(shard, epoch))
            {
                foreach (int[] tokens in corpus[file.Name].SelectMany(text => Texts(config, text)))
                {
                    if (config.Mode == DataMode.Faithful)
                    {
                        yield return [.. tokens.Take(length), .. Enumerable.Repeat(258, Math.Max(0, length - tokens.Length))];
                        continue;
                    }

                    carried.AddRange(tokens);
                    while (carried.Count >= length)
                    {
                        yield return [.. carried.Take(length)];
                        carried.RemoveRange(0, length - 1);
                    }
                }
            }
        }
    }

    public static IEnumerable<int[]> Texts(DataConfig config, string document)
    {
        IEnumerable<string> texts = config.Mode == DataMode.Faithful
            ? document.Split(' ').Chunk(config.DocumentSplitSize).Select(words => string.Join(' ', words))
            : [document];
        foreach (string text in texts.Where(text => MeasuredLength(text) >= config.MinCharactersPerText))
        {
            int[] tokens = ByteEncoder.Tokens(text, config.AppendBos, config.AppendEos);
            if (tokens.Length >= config.MinTokensPerText && tokens.Length > 0)
            {
                yield return tokens;
            }
        }
    }

    public static int MeasuredLength(string text)
    {
        string measured = string.Concat(text.ToLowerInvariant().Where(c => !PythonPunctuation.Contains(c)));
        return Regex.Replace(measured, @"[\s\u001C-\u001F]+", " ").Trim().EnumerateRunes().Count();
    }
}
