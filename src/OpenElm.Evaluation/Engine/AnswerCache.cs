using System.Buffers.Binary;
using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Engine;

/// <summary>
/// Answers of one model, kept on disk: a folder of text files to which lines are only ever appended. Each process writes a file of its own and reads all,
/// so that several may use the folder at once and a killed one loses at most the line it was writing. A line holds the hash of the tokens, the score, and a
/// checksum over both and the model: damaged lines, and lines of other models, are counted and reported, never trusted.
/// </summary>
public sealed class AnswerCache : IDisposable
{
    const string Header = "openelm-answers 1", Prefix = "answers-", Suffix = ".txt";

    readonly Dictionary<UInt128, ContinuationScore> _answers = [];
    readonly string _folder, _model;
    FileStream? _file;

    AnswerCache(string folder, string model) => (_folder, _model) = (folder, model);

    /// <summary>Answers known.</summary>
    public int Count => _answers.Count;

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

    /// <summary>Keeps an answer.</summary>
    /// <param name="window">The tokens.</param>
    /// <param name="score">Their score.</param>
    /// <exception cref="OpenElmException">It cannot be written.</exception>
    public void Add(TokenWindow window, ContinuationScore score)
    {
        UInt128 key = Key(window);
        try
        {
            _file ??= Create();
            _file.Write(Encoding.ASCII.GetBytes(Line(key, score) + "\n")); // not buffered: one write, whole lines
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OpenElmException($"An answer cannot be written to {_folder} ({e.Message}); name another folder or evaluate without a cache.", e);
        }

        _answers[key] = score;
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

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
            if (Parse(line) is { } answer)
            {
                _answers[answer.Key] = answer.Score;
            }
            else
            {
                first = bad++ == 0 ? number : first;
            }
        }

        if (bad > 0)
        {
            warn?.Invoke($"{path} has {bad} damaged or unfinished {(bad == 1 ? "line" : "lines")} (the first is line {first}); what they held is computed again.");
        }
    }

    (UInt128 Key, ContinuationScore Score)? Parse(string line) =>
        line.Split(' ') is [var keyText, var logText, "0" or "1", _] parts
        && UInt128.TryParse(keyText, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 key)
        && double.TryParse(logText, NumberStyles.Float, CultureInfo.InvariantCulture, out double log)
        && new ContinuationScore(log, parts[2] == "1") is var score
        && Line(key, score) == line ? (key, score) : null;

    string Line(UInt128 key, ContinuationScore score)
    {
        string content = $"{key:x32} {score.LogProbability.ToString("R", CultureInfo.InvariantCulture)} {(score.IsGreedy ? 1 : 0)}";
        return $"{content} {XxHash32.HashToUInt32(Encoding.ASCII.GetBytes($"{_model} {content}")):x8}";
    }

    static UInt128 Key(TokenWindow window)
    {
        var hash = new XxHash128();
        Span<byte> length = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(length, window.Context.Length); // so that the border between the two counts
        hash.Append(length);
        hash.Append(MemoryMarshal.AsBytes(window.Context.AsSpan()));
        hash.Append(MemoryMarshal.AsBytes(window.Continuation.AsSpan()));
        return hash.GetCurrentHashAsUInt128();
    }
}
