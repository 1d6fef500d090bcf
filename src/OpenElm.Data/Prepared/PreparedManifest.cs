using System.Collections.Immutable;
using System.Text.Json;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data;

/// <summary>What lies in a folder of prepared tokens, and of what and how it was made.</summary>
public sealed record PreparedManifest
{
    internal const string FileName = "manifest.json";
    internal const int CurrentFormat = 1;

    /// <summary>Version of the folder's layout.</summary>
    public required int Format { get; init; }

    /// <summary>The settings that decide which tokens a file becomes.</summary>
    public required ImmutableSortedDictionary<string, string> Settings { get; init; }

    /// <summary>XxHash3 of the tokenizer's model.</summary>
    public required string Tokenizer { get; init; }

    /// <summary>The corpus files, in the order of the configuration.</summary>
    public required ImmutableArray<PreparedFile> Files { get; init; }

    /// <summary>Texts that passed the filters.</summary>
    public long TotalTexts() => Files.Sum(file => file.Pieces.Sum(piece => (long)piece.Texts));

    /// <summary>Tokens stored.</summary>
    public long TotalTokens() => Files.Sum(file => file.Pieces.Sum(piece => piece.Tokens));

    /// <summary>Bytes of all pieces.</summary>
    public long TotalBytes() => Files.Sum(file => file.Pieces.Sum(piece => piece.Bytes));

    internal static ImmutableSortedDictionary<string, string> SettingsOf(DataConfig config)
    {
        Dictionary<string, string> settings = new()
        {
            ["mode"] = config.Mode.ToString(),
            ["min_tokens_per_text"] = $"{config.MinTokensPerText}",
            ["min_characters_per_text"] = $"{config.MinCharactersPerText}",
            ["append_bos"] = $"{config.AppendBos}",
            ["append_eos"] = $"{config.AppendEos}",
            ["clean_up"] = $"{config.CleanUp}",
            ["on_bad_record"] = $"{config.OnBadRecord}",
        };
        if (config.Mode == DataMode.Faithful)
        {
            // Only this mode splits documents and cuts texts before they are arranged.
            settings["document_split_size"] = $"{config.DocumentSplitSize}";
            settings["sequence_length"] = $"{config.SequenceLength}";
        }

        return settings.ToImmutableSortedDictionary(StringComparer.Ordinal);
    }

    internal static PreparedManifest FromJson(string json) => JsonSerializer.Deserialize(json, DataJson.Default.PreparedManifest)!;

    internal string ToJson() => JsonSerializer.Serialize(this, DataJson.Default.PreparedManifest);

    /// <summary>Reads the manifest of a folder that <see cref="DataPreparation"/> wrote; its pieces are not looked at.</summary>
    /// <param name="folder">The folder.</param>
    /// <returns>The manifest.</returns>
    /// <exception cref="OpenElmException">There is none, it cannot be read, or it is of another version.</exception>
    public static PreparedManifest Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            using FileStream stream = File.OpenRead(path);
            PreparedManifest manifest = JsonSerializer.Deserialize(stream, DataJson.Default.PreparedManifest)
                ?? throw new OpenElmException($"{path} is empty; prepare the data again.");
            return manifest.Format == CurrentFormat ? manifest : throw new OpenElmException(
                $"{path} has format {manifest.Format}, and this version reads {CurrentFormat}; prepare the data again.");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new OpenElmException($"There is no prepared data in '{folder}' ({FileName} is missing); run 'openelm data prepare' or leave prepared_dir out.", e);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"{path} cannot be read ({e.Message.TrimEnd('.')}); prepare the data again.", e);
        }
    }

    /// <summary>Refuses prepared tokens that the configuration, its files or the tokenizer would not give today.</summary>
    internal void CheckAgainst(DataConfig config, string baseDirectory, ITextEncoder encoder, string folder)
    {
        List<string> problems = [];
        ImmutableSortedDictionary<string, string> wanted = SettingsOf(config);
        foreach (string key in wanted.Keys.Union(Settings.Keys).Order(StringComparer.Ordinal))
        {
            (string? made, string? asked) = (Settings.GetValueOrDefault(key), wanted.GetValueOrDefault(key));
            if (made != asked)
            {
                problems.Add($"{key} was {made ?? "not set"} and is now {asked ?? "not set"}");
            }
        }

        if (Tokenizer != encoder.Fingerprint)
        {
            problems.Add("the tokenizer is another one");
        }

        CheckFiles(config, baseDirectory, problems);
        if (problems.Count > 0)
        {
            throw new OpenElmException($"The prepared data in '{folder}' does not fit the configuration: {string.Join("; ", problems)}. Prepare it again or leave prepared_dir out.");
        }
    }

    void CheckFiles(DataConfig config, string baseDirectory, List<string> problems)
    {
        (string Name, string Key)[] named = [.. config.Sources.SelectMany(source => FilePattern.Expand(source).Select(name => (name, source.TextKey)))];
        if (!named.SequenceEqual(Files.Select(file => (file.Name, file.TextKey))))
        {
            problems.Add($"the data files or their text keys are not the {Files.Length} that were prepared");
            return;
        }

        foreach (PreparedFile file in Files)
        {
            // The texts may be gone, that is what preparing is for; where they are still here, they must be the same.
            string path = Path.GetFullPath(file.Name, Path.GetFullPath(baseDirectory));
            if (LocalFiles.Instance.LengthOf(path) is { } length && length != file.Length)
            {
                problems.Add($"{path} had {file.Length} bytes and has {length} now");
            }
        }
    }
}

/// <summary>One corpus file in prepared form.</summary>
/// <param name="Name">As the configuration names it.</param>
/// <param name="TextKey">The key or column of its text.</param>
/// <param name="Length">Bytes of the corpus file.</param>
/// <param name="Documents">Documents read from it.</param>
/// <param name="BadRecords">Records skipped.</param>
/// <param name="Pieces">Where its tokens lie, in order.</param>
public sealed record PreparedFile(string Name, string TextKey, long Length, long Documents, long BadRecords, ImmutableArray<PreparedPieceInfo> Pieces);

/// <summary>One file of tokens.</summary>
/// <param name="Name">File name in the folder.</param>
/// <param name="Texts">Texts in it.</param>
/// <param name="Tokens">Tokens in it.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="XxHash3">Checksum of all its bytes.</param>
public sealed record PreparedPieceInfo(string Name, int Texts, long Tokens, long Bytes, string XxHash3);
