using System.IO.Compression;
using System.Text;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;

namespace OpenElm.Evaluation.Tests.Tasks;

/// <summary>A data folder with made-up rows.</summary>
internal sealed class TaskFolder : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public EvaluationData Data => new(_folder.Path);

    public string Path => _folder.Path;

    /// <summary>Writes a file; packed where its name says so.</summary>
    public TaskFolder With(string name, string text)
    {
        string path = _folder[name];
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        using FileStream file = File.Create(path);
        using Stream stream = name.EndsWith(".gz", StringComparison.Ordinal) ? new GZipStream(file, CompressionLevel.Fastest) : file;
        stream.Write(Encoding.UTF8.GetBytes(text));
        return this;
    }

    public TaskFolder WithZip(string name, params (string Member, string Text)[] members)
    {
        string path = _folder[name];
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        using ZipArchive archive = ZipFile.Open(path, ZipArchiveMode.Create);
        foreach ((string member, string text) in members)
        {
            using Stream stream = archive.CreateEntry(member).Open();
            stream.Write(Encoding.UTF8.GetBytes(text));
        }

        return this;
    }

    /// <summary>Copies a file that was made elsewhere.</summary>
    public TaskFolder WithCopy(string name, string source)
    {
        string path = _folder[name];
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        File.Copy(source, path);
        return this;
    }

    public EvaluationItem[] Items(string task, int? shots = null, int? limit = null) =>
        [.. TaskCatalog.Get(task).Single().Prepare(Data, new ItemOptions { Shots = shots, Limit = limit }).Items];

    public string Refusal(string task, ItemOptions? options = null) =>
        Assert.Throws<OpenElmException>(() => TaskCatalog.Get(task).Single().Prepare(Data, options ?? new ItemOptions())).Message.Replace(_folder.Path, "DATA", StringComparison.Ordinal);

    public void Dispose() => _folder.Dispose();
}
