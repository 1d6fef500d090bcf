using System.Text;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Data.Tests.Preferences;

/// <summary>Hand-made pairs in a temporary folder.</summary>
internal sealed class PreferenceFolder : IDisposable
{
    readonly CorpusFolder _folder = new();

    public static SentencePieceTokenizer Tokenizer { get; } = SentencePieceTokenizer.Load(Path.Combine(RepositoryFiles.Root, "samples/tokenizer/mistral/tokenizer.model"));

    public static PreferenceConfig Config { get; } = new() { Files = ["r.jsonl"] };

    public string Root => _folder.Root;

    public void Write(string name, params string[] rows) => _folder.WriteBytes(name, Encoding.UTF8.GetBytes(string.Join("\n", rows)));

    public PreferenceSet Read(string[] rows, PreferenceConfig? config = null, ChatTemplate? template = null, SentencePieceTokenizer? tokenizer = null)
    {
        Write("r.jsonl", rows);
        return PreferenceSet.Read(config ?? Config, Root, tokenizer ?? Tokenizer, template ?? ChatTemplate.Zephyr, TestContext.Current.CancellationToken);
    }

    public void Dispose() => _folder.Dispose();
}
