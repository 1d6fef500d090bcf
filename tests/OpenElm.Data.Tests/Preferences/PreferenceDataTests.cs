using System.Security.Cryptography;
using System.Text;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Tests.Preferences;

/// <summary>Real sets. What to expect was computed by tests/referee/preference_pairs.py, which is independent of this code.</summary>
public sealed class PreferenceDataTests
{
    [Theory]
    [InlineData("train", 1020, "aa24caabf551b343c0320396c08dc35bb04326958e972b616e69ef3b4ab2b481")]
    [InlineData("validation", 74, "63522ac786ee1eea885411cfc09abcdf12014a54eeae5f16bed76225dd02a8b2")]
    public void The_sample_has_the_tokens_of_the_referee(string split, int pairs, string sha256)
    {
        PreferenceSet set = Read(Path.Combine(RepositoryFiles.Root, "samples/preference", $"{split}.jsonl.gz"), PreferenceFolder.Tokenizer, BadRecordPolicy.Fail, EqualPairPolicy.Fail);
        Assert.Equal(new PreferenceStatistics(pairs, 0, 0, 0, 0, 0), set.Statistics);
        Assert.Equal(sha256, Sha256(set));
    }

    [Fact]
    public void No_instruction_of_the_held_out_sample_is_trained_on()
    {
        static HashSet<string> Instructions(string file) => [.. ReadLines(file).Select(line =>
            string.Join(' ', line.GetProperty("instruction").GetString()!.ToLowerInvariant().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)))];

        HashSet<string> heldOut = Instructions("samples/preference/validation.jsonl.gz");
        Assert.NotEmpty(heldOut);
        Assert.Empty(heldOut.Intersect(Instructions("samples/preference/train.jsonl.gz")));
        Assert.Empty(heldOut.Intersect(Instructions("samples/instruct/train.jsonl.gz")));
    }

    // Records, bad, equal, cut prompts, cut responses.
    [Theory]
    [InlineData("ultrafeedback-sample-train.jsonl.gz", "mistral", 1000, 2, 4, 56, 84, "354fe7023b81d909f487909a0ef69bbf98cab56e86ff2f8269d66d9531d3d366")]
    [InlineData("ultrafeedback-sample-train.jsonl.gz", "llama", 1000, 2, 4, 59, 92, "3d13ae951494762a711c5cb83380a204040d312d556d1fc3385fc1e550a5abae")]
    [InlineData("ultrafeedback-sample-test.jsonl.gz", "mistral", 200, 0, 1, 12, 18, "8b66e830e69b159fdab16267adef48a1e6d1a3cc58a73ea2ab7eb7f72145f050")]
    [InlineData("ultrafeedback-sample-test.jsonl.gz", "llama", 200, 0, 1, 13, 22, "e59e5c239377cda43e02eab174cc99395bfbdd75c956ab2d30b8ebc567e6d5b3")]
    [InlineData("hh-rlhf-harmless-test.jsonl.gz", "mistral", 2312, 9, 0, 3, 1, "158fcc79fd9d8b4a25f0d8799cdef1d17626646218e768ee101e91a5fbcbbe62")]
    [InlineData("hh-rlhf-harmless-test.jsonl.gz", "llama", 2312, 9, 0, 4, 1, "878653f679678e12ded39914783c47cfd1975138bb589b96b9ebb0c8adc77bcf")]
    [InlineData("instruction-preference-1100.json.gz", "mistral", 1100, 0, 6, 0, 0, "0aa5bb6503ceeba19c701767b0febe223db79110936e9490a415b56bf6078156")]
    [InlineData("instruction-preference-1100.json.gz", "llama", 1100, 0, 6, 0, 0, "4307def11fd312fb7454be4ce82df6ad8045ea6e3fdac4b0534ad12ca3e7cf56")]
    public void Real_sets_have_the_tokens_of_the_referee(string file, string tokenizer, int records, int bad, int equal, int cutPrompts, int cutResponses, string sha256)
    {
        string folder = Path.GetFullPath(Path.Combine(
            Environment.GetEnvironmentVariable("OPENELM_DATA") is { Length: > 0 } evaluation ? evaluation : Path.Combine(RepositoryFiles.Root, "..", "shared", "data", "eval"), "..", "preference"));
        Assert.SkipUnless(Directory.Exists(folder), $"{folder} is not here; set OPENELM_DATA to the evaluation data beside it");
        Assert.SkipWhen(tokenizer == "llama" && RepositoryFiles.LlamaTokenizer is null, "LLaMA's tokenizer.model is not open source and not here; set OPENELM_LLAMA_TOKENIZER");
        SentencePieceTokenizer pieces = tokenizer == "llama" ? SentencePieceTokenizer.Load(RepositoryFiles.LlamaTokenizer!) : PreferenceFolder.Tokenizer;

        PreferenceSet set = Read(Path.Combine(folder, file), pieces, BadRecordPolicy.Skip, EqualPairPolicy.Skip);
        Assert.Equal(new PreferenceStatistics(records, bad, equal, 0, cutPrompts, cutResponses), set.Statistics);
        Assert.Equal(sha256, Sha256(set));
    }

    static PreferenceSet Read(string file, SentencePieceTokenizer tokenizer, BadRecordPolicy bad, EqualPairPolicy equal) => PreferenceSet.Read(
        new PreferenceConfig { Files = [file], OnBadRecord = bad, OnEqualPair = equal }, RepositoryFiles.Root, tokenizer, ChatTemplate.Zephyr, TestContext.Current.CancellationToken);

    // Of the lines [[prompt], [chosen], [rejected]] as Python's json writes them.
    static string Sha256(PreferenceSet set)
    {
        static string Ids(IEnumerable<int> ids) => $"[{string.Join(", ", ids)}]";
        string lines = string.Concat(set.Pairs.Select(pair => $"[{Ids(pair.Prompt)}, {Ids(pair.Chosen)}, {Ids(pair.Rejected)}]\n"));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(lines)));
    }

    static IEnumerable<System.Text.Json.JsonElement> ReadLines(string file)
    {
        using var lines = new StreamReader(new System.IO.Compression.GZipStream(File.OpenRead(Path.Combine(RepositoryFiles.Root, file)), System.IO.Compression.CompressionMode.Decompress));
        while (lines.ReadLine() is { } line)
        {
            using var document = System.Text.Json.JsonDocument.Parse(line);
            yield return document.RootElement.Clone();
        }
    }
}
