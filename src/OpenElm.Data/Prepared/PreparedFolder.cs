using System.Collections.Concurrent;
using System.Collections.Immutable;
using OpenElm.Data.Files;
using OpenElm.Data.Texts;

namespace OpenElm.Data.Prepared;

/// <summary>A folder of prepared tokens that fits a configuration. Shared by all workers of a stream.</summary>
internal sealed class PreparedFolder
{
    readonly string _path;
    readonly PreparedManifest _manifest;
    readonly ConcurrentDictionary<string, bool> _verified = new();

    public PreparedFolder(string path, DataConfig config, string baseDirectory, ITextEncoder encoder)
    {
        _path = path;
        _manifest = PreparedManifest.Load(path);
        _manifest.CheckAgainst(config, baseDirectory, encoder, path);
        Files = [.. _manifest.Files.Select((file, i) =>
            new DataFile(i, file.Name, Path.GetFullPath(file.Name, Path.GetFullPath(baseDirectory)), file.TextKey, file.Length))];
    }

    /// <summary>The corpus files as they were when they were prepared; they need not exist any more.</summary>
    public ImmutableArray<DataFile> Files { get; }

    /// <summary>Pieces of a file.</summary>
    public ImmutableArray<PreparedPieceInfo> PiecesOf(DataFile file) => _manifest.Files[file.Index].Pieces;

    /// <summary>Maps a piece; its checksum is compared the first time.</summary>
    public PreparedPiece Open(PreparedPieceInfo info)
    {
        string path = Path.Combine(_path, info.Name);
        var piece = new PreparedPiece(path, info);
        if (!_verified.ContainsKey(info.Name))
        {
            try
            {
                piece.Verify(path, info.XxHash3);
            }
            catch
            {
                piece.Dispose();
                throw;
            }

            _verified[info.Name] = true;
        }

        return piece;
    }
}
