using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using OpenElm.IO;

namespace OpenElm.Checkpoints;

/// <summary>A file mapped read-only; every window on it is checked against its length.</summary>
internal sealed unsafe partial class MappedFile : IDisposable
{
    const int MadviseDontNeed = 4;

    readonly MemoryMappedFile _file;
    readonly MemoryMappedViewAccessor _view;
    readonly byte* _address;
    bool _disposed;

    MappedFile(string path, long length, MemoryMappedFile file)
    {
        (Path, Length, _file) = (path, length, file);
        _view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _address);
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Its bytes.</summary>
    public long Length { get; }

    /// <summary>Maps a file; nothing is read.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The open file.</returns>
    /// <exception cref="OpenElmException">It is missing, empty, or may not be read.</exception>
    public static MappedFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new OpenElmException($"There is no file {path}.");
        }

        MemoryMappedFile? file = null;
        try
        {
            long length = new FileInfo(path).LengthBehindLinks();
            if (length == 0)
            {
                throw new OpenElmException($"The file {path} is empty.");
            }

            file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            return new MappedFile(path, length, file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw new OpenElmException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>Whether bytes lie inside the file.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="count">How many.</param>
    /// <returns>False where either is negative or they end behind the file.</returns>
    public bool Holds(long offset, long count) => offset >= 0 && count >= 0 && offset <= Length && count <= Length - offset;

    /// <summary>Some bytes, without a copy.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="count">How many; they must lie inside the file.</param>
    /// <returns>[count].</returns>
    public ReadOnlySpan<byte> Bytes(long offset, int count) => new((void*)AddressOf(offset, count), count);

    /// <summary>The address of some bytes.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="count">How many; they must lie inside the file.</param>
    /// <returns>Where they are mapped.</returns>
    public nint AddressOf(long offset, long count)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return Holds(offset, count) ? (nint)(_address + offset) : throw new ArgumentOutOfRangeException(nameof(offset), $"{Path} has no bytes {offset} to {offset + count}.");
    }

    /// <summary>
    /// Tells the system that the bytes read so far need not stay in memory; they stay readable, and are read from the file again. Without it a
    /// file that is read once counts as the program's memory. Elsewhere than on Linux it does nothing.
    /// </summary>
    public void ReleasePages()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (OperatingSystem.IsLinux())
        {
            _ = Madvise((nint)_address, (nuint)Length, MadviseDontNeed); // a hint: where it is refused, the pages stay
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file.Dispose();
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(nint address, nuint length, int advice);
}
