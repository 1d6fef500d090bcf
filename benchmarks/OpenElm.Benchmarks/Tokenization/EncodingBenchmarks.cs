using System.IO.Compression;
using System.Text.Json;
using BenchmarkDotNet.Attributes;
using OpenElm.Tokenization;

namespace OpenElm.Benchmarks.Tokenization;

/// <summary>Encoding, clean-up and decoding of whole documents of the bundled corpus, with what they allocate.</summary>
[MemoryDiagnoser]
public class EncodingBenchmarks
{
    readonly List<int> _ids = [];
    string[] _texts = [];
    int[][] _encoded = [];
    SentencePieceTokenizer _tokenizer = null!;

    [GlobalSetup]
    public void Load()
    {
        string root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "OpenElm.slnx")))
        {
            root = Path.GetDirectoryName(root) ?? throw new InvalidOperationException("no OpenElm.slnx above the benchmarks");
        }
        _tokenizer = SentencePieceTokenizer.Load(Path.Combine(root, "samples/tokenizer/mistral/tokenizer.model"));
        using var reader = new StreamReader(new GZipStream(
            File.OpenRead(Path.Combine(root, "samples/pretrain/validation.jsonl.gz")), CompressionMode.Decompress));
        var texts = new List<string>();
        while (reader.ReadLine() is string line)
        {
            texts.Add(JsonDocument.Parse(line).RootElement.GetProperty("text").GetString()!);
        }
        _texts = [.. texts];
        _encoded = [.. _texts.Select(text => _tokenizer.Encode(text))];
    }

    [Benchmark]
    public int Encode()
    {
        _ids.Clear();
        foreach (string text in _texts)
        {
            _tokenizer.Encode(text, _ids);
        }
        return _ids.Count;
    }

    [Benchmark]
    public int EncodeWithOffsets() => _texts.Sum(text => _tokenizer.EncodeWithOffsets(text).Count);

    [Benchmark]
    public int CleanUp() => _texts.Sum(text => TextCleanup.FixText(text).Length);

    [Benchmark]
    public int Decode() => _encoded.Sum(ids => _tokenizer.Decode(ids).Length);
}
