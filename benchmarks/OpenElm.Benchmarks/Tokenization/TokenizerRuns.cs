using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using OpenElm.Tokenization;
using LlamaTokenizer = Microsoft.ML.Tokenizers.LlamaTokenizer;

namespace OpenElm.Benchmarks.Tokenization;

/// <summary>
/// Whole runs over a corpus for <c>benchmarks/compare-tokenizers.sh</c>. Each prints seconds, without start-up and loading; the
/// first pass is printed like any other, so it includes compilation and an empty word cache.
/// </summary>
internal static class TokenizerRuns
{
    public static int Run(string[] args)
    {
        switch (args)
        {
            case ["extract", string corpus, string text]: Extract(corpus, text); return 0;
            case ["ours", string model, string text, string passes]: Ours(model, text, passes, null); return 0;
            case ["ours", string model, string text, string passes, "clean"]: Ours(model, text, passes, new() { CleanUp = true }); return 0;
            case ["ids", string model, string text]: Ids(model, text); return 0;
            case ["microsoft", string model, string text, string passes]: Microsoft(model, text, passes); return 0;
            case ["train", string text, string vocabulary, string threads, string model]: Train(text, vocabulary, threads, model); return 0;
            default:
                Console.Error.WriteLine("tokenizer extract CORPUS.jsonl.gz TEXT | ours MODEL TEXT PASSES [clean] | ids MODEL TEXT | microsoft MODEL TEXT PASSES | train TEXT VOCABULARY THREADS MODEL");
                return 2;
        }
    }

    static void Extract(string corpus, string text)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(corpus), CompressionMode.Decompress));
        using var writer = new StreamWriter(text, false, new UTF8Encoding(false)) { NewLine = "\n" };
        while (reader.ReadLine() is string line)
        {
            writer.WriteLine(JsonDocument.Parse(line).RootElement.GetProperty("text").GetString());
        }
    }

    // On '\n' only, as spm_encode does.
    static string[] Lines(string text)
    {
        string[] lines = File.ReadAllText(text).Split('\n');
        return lines is [.., ""] ? lines[..^1] : lines;
    }

    static void Ours(string model, string text, string passes, TokenizerOptions? options)
    {
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(model);
        var ids = new List<int>();
        Measure(Lines(text), passes, line =>
        {
            ids.Clear();
            tokenizer.Encode(line, ids, options);
            return ids.Count;
        });
    }

    static void Ids(string model, string text)
    {
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(model);
        using var output = new StreamWriter(Console.OpenStandardOutput()) { NewLine = "\n" };
        foreach (string line in Lines(text))
        {
            output.WriteLine(string.Join(' ', tokenizer.Encode(line)));
        }
    }

    static void Microsoft(string model, string text, string passes)
    {
        using FileStream stream = File.OpenRead(model);
        LlamaTokenizer tokenizer = LlamaTokenizer.Create(stream, addBeginOfSentence: false, addEndOfSentence: false);
        Measure(Lines(text), passes, line => tokenizer.EncodeToIds(line).Count);
    }

    static void Train(string text, string vocabulary, string threads, string model)
    {
        string[] lines = Lines(text);
        var options = new BpeTrainerOptions
        {
            VocabularySize = int.Parse(vocabulary, CultureInfo.InvariantCulture),
            Threads = int.Parse(threads, CultureInfo.InvariantCulture),
        };
        long start = Stopwatch.GetTimestamp();
        SentencePieceTokenizer trained = new BpeTrainer(options).Train(lines);
        Console.WriteLine($"{Stopwatch.GetElapsedTime(start).TotalSeconds:F3} s");
        File.WriteAllBytes(model, trained.ModelBytes.ToArray());
    }

    static void Measure(string[] lines, string passes, Func<string, int> encode)
    {
        for (int pass = 0; pass < int.Parse(passes, CultureInfo.InvariantCulture); pass++)
        {
            long tokens = 0;
            long start = Stopwatch.GetTimestamp();
            foreach (string line in lines)
            {
                tokens += encode(line);
            }
            Console.WriteLine($"{Stopwatch.GetElapsedTime(start).TotalSeconds:F3} s {tokens} tokens");
        }
    }
}
