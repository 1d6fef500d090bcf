using System.Collections.Immutable;
using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>
/// Answers of one model, kept on disk: a folder of text files to which lines are only ever appended. Each process writes a file of its own and reads all,
/// so that several may use the folder at once and a killed one loses at most the line it was writing. A line holds the hash of the tokens, the score (or the tokens that were written), and a
/// checksum over both and the model: damaged lines, and lines of other models, are counted and reported, never trusted.
/// </summary>
public sealed class AnswerCache : IDisposable
{
    const string Header = "openelm-answers 1", Prefix = "answers-", Suffix = ".txt", Written = "wrote";

    readonly Dictionary<UInt128, ContinuationScore> _answers = [];
    readonly Dictionary<UInt128, ImmutableArray<int>> _texts = [];
    readonly string _folder, _model;
    FileStream? _file;

    AnswerCache(string folder, string model) => (_folder, _model) = (folder, model);

    /// <summary>Answers known.</summary>
    public int Count => _answers.Count + _texts.Count;

    /// <summary>Opens the answers of a model.</summary>
    /// <param name="folder">The folder of all models' answers; made when the first answer is added.</param>
    /// <param name="model">What the answers depend on beside the tokens: <see cref="ModelFingerprint"/>.</param>
    /// <param name="warn">Receives a sentence for each file that holds lines which cannot be used.</param>
    /// <returns>The cache.</returns>
    /// <exception cref="OpenElmException">The folder cannot be read.</exception>
    public static AnswerCache Open(string folder, string model, Action<string>? warn = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(model);
        var cache = new AnswerCache(Path.Combine(folder, model), model);
        try
        {
            if (Directory.Exists(cache._folder))
            {
                foreach (string path in Directory.EnumerateFiles(cache._folder, $"{Prefix}*{Suffix}").Order(StringComparer.Ordinal))
                {
                    cache.Read(path, warn);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"The answers in {cache._folder} cannot be read ({e.Message}); name another folder or evaluate without a cache.", e);
        }

        return cache;
    }

    /// <summary>Looks an answer up.</summary>
    /// <param name="window">The tokens.</param>
    /// <param name="score">Their score.</param>
    /// <returns>Whether it is known.</returns>
    public bool TryGet(TokenWindow window, out ContinuationScore score) => _answers.TryGetValue(Key(window), out score);

    /// <summary>Looks a written answer up.</summary>
    /// <param name="request">The question.</param>
    /// <param name="tokens">The answer.</param>
    /// <returns>Whether it is known.</returns>
    public bool TryGetText(GenerationRequest request, out ImmutableArray<int> tokens) => _texts.TryGetValue(Key(request), out tokens);

    /// <summary>Keeps an answer.</summary>
    /// <param name="window">The tokens.</param>
    /// <param name="score">Their score.</param>
    /// <exception cref="OpenElmException">It cannot be written.</exception>
    public void Add(TokenWindow window, ContinuationScore score)
    {
        UInt128 key = Key(window);
        Append(Line(key, Content(score)));
        _answers[key] = score;
    }

    /// <summary>Keeps a written answer.</summary>
    /// <param name="request">The question.</param>
    /// <param name="tokens">The answer.</param>
    /// <exception cref="OpenElmException">It cannot be written.</exception>
    public void AddText(GenerationRequest request, ImmutableArray<int> tokens)
    {
        UInt128 key = Key(request);
        Append(Line(key, Content(tokens)));
        _texts[key] = tokens;
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    void Append(string line)
    {
        try
        {
            _file ??= Create();
            _file.Write(Encoding.ASCII.GetBytes(line + "\n")); // not buffered: one write, whole lines
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"An answer cannot be written to {_folder} ({e.Message}); name another folder or evaluate without a cache.", e);
        }
    }

    FileStream Create()
    {
        Directory.CreateDirectory(_folder);
        var file = new FileStream(Path.Combine(_folder, $"{Prefix}{Guid.NewGuid():N}{Suffix}"), FileMode.CreateNew, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        file.Write(Encoding.ASCII.GetBytes($"{Header} {_model}\n"));
        return file;
    }

    void Read(string path, Action<string>? warn)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using var reader = new StreamReader(stream, Encoding.Latin1);
        string? header = reader.ReadLine();
        if (header != $"{Header} {_model}")
        {
            warn?.Invoke(header is null ? $"{path} is empty; nothing in it can be used." : $"{path} holds answers of another model or format; none of them is used.");
            return;
        }

        (int number, int bad, int first) = (1, 0, 0);
        while (reader.ReadLine() is { } line)
        {
            number++;
            if (!Take(line))
            {
                first = bad++ == 0 ? number : first;
            }
        }

        if (bad > 0)
        {
            warn?.Invoke($"{path} has {bad} damaged or unfinished {(bad == 1 ? "line" : "lines")} (the first is line {first}); what they held is computed again.");
        }
    }

    bool Take(string line)
    {
        if (line.Split(' ') is not [var keyText, var first, var second, _]
            || !UInt128.TryParse(keyText, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 key)
            || Line(key, $"{first} {second}") != line)
        {
            return false;
        }

        if (first == Written)
        {
            _texts[key] = [.. second.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(id => int.Parse(id, CultureInfo.InvariantCulture))];
        }
        else
        {
            _answers[key] = new ContinuationScore(double.Parse(first, NumberStyles.Float, CultureInfo.InvariantCulture), second == "1");
        }

        return true;
    }

    static string Content(ContinuationScore score) => $"{score.LogProbability.ToString("R", CultureInfo.InvariantCulture)} {(score.IsGreedy ? 1 : 0)}";

    static string Content(ImmutableArray<int> tokens) => $"{Written} {string.Join(',', tokens)}";

    string Line(UInt128 key, string content) => $"{key:x32} {content} {XxHash32.HashToUInt32(Encoding.ASCII.GetBytes($"{_model} {key:x32} {content}")):x8}";

    static UInt128 Key(GenerationRequest request) =>
        // No window has a context of such a length.
        Key([-1, request.Settings.Beams, request.Settings.MaxTokens, request.Settings.IgnoreEos ? 1 : 0], request.Prompt.AsSpan(), []);

    // The length, so that the border between the two counts.
    static UInt128 Key(TokenWindow window) => Key([window.Context.Length], window.Context.AsSpan(), window.Continuation.AsSpan());

    static UInt128 Key(ReadOnlySpan<int> kind, ReadOnlySpan<int> context, ReadOnlySpan<int> continuation)
    {
        var hash = new XxHash128();
        hash.Append(MemoryMarshal.AsBytes(kind));
        hash.Append(MemoryMarshal.AsBytes(context));
        hash.Append(MemoryMarshal.AsBytes(continuation));
        return hash.GetCurrentHashAsUInt128();
    }
}
