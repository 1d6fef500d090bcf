using System.IO.Compression;
using System.Text.Json;
using OpenElm.Inference.Scoring;

namespace OpenElm.Inference.Tests;

/// <summary>The model that the repository ships, as its card describes it.</summary>
public sealed class ShippedModelTests
{
    static readonly string Books = Path.Combine(RepositoryFiles.Root, "models", "books-46m");

    [Fact]
    public void Its_files_are_small()
    {
        FileInfo[] files = new DirectoryInfo(Books).GetFiles("*.safetensors");
        Assert.All(files, file => Assert.InRange(file.Length, 1, 15_000_000));
        Assert.InRange(files.Sum(file => file.Length), 80_000_000, 125_000_000);
    }

    [Fact]
    public void It_predicts_a_book_that_it_has_not_seen_far_better_than_the_stories_model()
    {
        string text = HeldOut("The Canterville Ghost")[..4000];
        Assert.InRange(BitsPerByte(Books, text), 1.0, 1.35); // 1.19 over the three held-out books
        Assert.True(BitsPerByte(Path.Combine(RepositoryFiles.Root, "samples", "stories260k"), text) > 2);
    }

    static double BitsPerByte(string folder, string text)
    {
        using TextModel model = TextModel.Load(folder);
        return new PerplexityMeter(model.Model, model.Tokenizer).MeasureText(text).BitsPerByte!.Value;
    }

    static string HeldOut(string title)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(Path.Combine(RepositoryFiles.Root, "samples", "pretrain", "validation.jsonl.gz")), CompressionMode.Decompress));
        while (reader.ReadLine() is { } line)
        {
            JsonElement record = JsonDocument.Parse(line).RootElement;
            if (record.GetProperty("title").GetString() == title)
            {
                return record.GetProperty("text").GetString()!;
            }
        }

        throw new InvalidOperationException($"There is no {title} in the validation text.");
    }
}
