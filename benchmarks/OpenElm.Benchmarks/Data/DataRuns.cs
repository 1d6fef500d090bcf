using System.Diagnostics;
using OpenElm.Data;
using OpenElm.Data.Batches;
using OpenElm.Data.Sharding;
using OpenElm.Data.Texts;
using OpenElm.Tokenization;

namespace OpenElm.Benchmarks.Data;

/// <summary>
/// From a corpus file to batches on the calling thread alone: <c>data TOKENIZER CORPUS [passes]</c>. Decompression, JSON, filters,
/// clean-up, tokens and arrangement are all inside; run under <c>taskset -c 0</c> to hold the runtime's own threads to one core.
/// CPU seconds are the whole process's: on a busy machine they say more than the clock.
/// </summary>
internal static class DataRuns
{
    const int MicroBatch = 16;

    public static int Run(string[] args)
    {
        if (args is not [string model, string corpus, .. var rest])
        {
            Console.Error.WriteLine("usage: data TOKENIZER CORPUS [passes]");
            return 2;
        }

        int passes = rest is [string count] ? int.Parse(count) : 5;
        var encoder = new SentencePieceEncoder(SentencePieceTokenizer.Load(model));
        DataConfig packing = new() { Sources = [new() { FileName = corpus }], Mode = DataMode.Packing };
        DataConfig faithful = packing with { Mode = DataMode.Faithful, MinTokensPerText = 256, MinCharactersPerText = 200 };
        string prepared = Path.Combine(Path.GetTempPath(), "openelm-prepared-benchmark");
        DataPreparation.Write(packing, ".", encoder, prepared, new PrepareOptions { Overwrite = true });
        (string Name, DataConfig Config)[] cases =
        [
            ("packing, clean-up", packing),
            ("faithful, clean-up", faithful),
            ("packing, no clean-up", packing with { CleanUp = false }),
            ("packing, prepared", packing with { PreparedDir = prepared }),
        ];
        for (int pass = 1; pass <= passes; pass++) // interleaved; the first pass warms up
        {
            foreach ((string name, DataConfig config) in cases)
            {
                TimeSpan cpuBefore = Environment.CpuUsage.TotalTime;
                var clock = Stopwatch.StartNew();
                long tokens = OneEpoch(config, encoder);
                double seconds = clock.Elapsed.TotalSeconds;
                double cpu = (Environment.CpuUsage.TotalTime - cpuBefore).TotalSeconds;
                Console.WriteLine($"pass {pass}  {name,-22} {tokens,9:n0} tokens  {seconds,6:f3} s  {cpu,6:f3} s of CPU  {tokens / seconds / 1e6,7:f3} million tokens/s  {tokens / cpu / 1e6,7:f3} million tokens per CPU second");
            }
        }

        Directory.Delete(prepared, recursive: true);
        return 0;
    }

    /// <summary>Tokens read, those dropped included: they cost the same.</summary>
    static long OneEpoch(DataConfig config, SentencePieceEncoder encoder)
    {
        (var files, OpenTexts open) = BatchStream.Corpus(config, ".", encoder, null);
        var counters = new DataCounters();
        var context = new DataContext(config, new ShardFiles(files, config), encoder.PadId, open);
        using ShardSequences sequences = ShardSequences.Open(context, 0, counters, default);
        int[] rows = new int[MicroBatch * (config.SequenceLength + 1)];
        while (sequences.Position.Epoch == 0)
        {
            for (int row = 0; row < MicroBatch; row++)
            {
                sequences.Next(rows.AsSpan(row * (config.SequenceLength + 1), config.SequenceLength + 1));
            }

            TokenBatch.FromRows(rows, MicroBatch, 0, "");
        }

        DataStatistics counted = counters.Drain();
        return counted.TokensKept + counted.TokensDropped;
    }
}
