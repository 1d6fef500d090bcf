using System.IO.Compression;
using System.Text.Json;
using OpenElm.Tokenization;

namespace OpenElm.Tests.Tokenization;

/// <summary>The tokenizers and texts that the tests share.</summary>
internal static class TestTokenizers
{
    public static string RepositoryRoot { get; } = FindRoot();

    public static string LlamaPath { get; } = Environment.GetEnvironmentVariable("OPENELM_LLAMA_TOKENIZER")
        ?? Path.GetFullPath(Path.Combine(RepositoryRoot, "../shared/data/tokenizer/llama/tokenizer.model"));

    static readonly Lazy<SentencePieceTokenizer> LazyMistral =
        new(() => SentencePieceTokenizer.Load(Path.Combine(RepositoryRoot, "samples/tokenizer/mistral/tokenizer.model")));

    static readonly Lazy<SentencePieceTokenizer> LazyLlama = new(() => SentencePieceTokenizer.Load(LlamaPath));

    public static SentencePieceTokenizer Mistral => LazyMistral.Value;

    /// <summary>LLaMA's tokenizer, or a skipped test: its licence does not allow to bundle it.</summary>
    public static SentencePieceTokenizer Llama
    {
        get
        {
            Assert.SkipUnless(File.Exists(LlamaPath), $"LLaMA's tokenizer.model is not open source and not at {LlamaPath}: set OPENELM_LLAMA_TOKENIZER");
            return LazyLlama.Value;
        }
    }

    public static SentencePieceTokenizer Named(string name) => name == "llama" ? Llama : Mistral;

    /// <summary>The bundled corpus.</summary>
    public static IEnumerable<string> SampleTexts() =>
        JsonLines(Path.Combine(RepositoryRoot, "samples/pretrain/train.jsonl.gz")).Select(line => line.GetProperty("text").GetString()!);

    public static IEnumerable<JsonElement> JsonLines(string path)
    {
        using var gzip = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
        using var reader = new StreamReader(gzip);
        while (reader.ReadLine() is string line)
        {
            yield return JsonDocument.Parse(line).RootElement;
        }
    }

    static string FindRoot()
    {
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "OpenElm.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("no OpenElm.slnx above the tests");
        }
        return folder;
    }
}
