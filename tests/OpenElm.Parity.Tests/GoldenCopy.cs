using System.Buffers.Binary;
using OpenElm.Checkpoints;

namespace OpenElm.Parity.Tests;

/// <summary>A copy of one golden file, in which a test changes single floats.</summary>
internal sealed class GoldenCopy : IDisposable
{
    readonly TemporaryFolder _folder = new();
    readonly string _path;
    readonly byte[] _original;

    public GoldenCopy(string name)
    {
        _path = _folder[name + ".safetensors"];
        _original = File.ReadAllBytes(System.IO.Path.Combine(RepositoryFiles.Golden, name + ".safetensors"));
        Restore();
        File.Copy(System.IO.Path.Combine(RepositoryFiles.Golden, "golden.json"), _folder["golden.json"]);
    }

    public string Folder => _folder.Path;

    public void Restore() => File.WriteAllBytes(_path, _original);

    /// <summary>Adds to one element of an F32 tensor.</summary>
    public void Write(string tensor, long element, float added)
    {
        long offset;
        float value;
        using (SafetensorsFile file = SafetensorsFile.Open(_path))
        {
            TensorView view = file[tensor];
            offset = view.Address - file.Tensors.Values.Min(other => other.Address) + DataStart() + (element * sizeof(float));
            value = view.Floats[(int)element];
        }

        byte[] bytes = [.. _original];
        BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan((int)offset), value + added);
        File.WriteAllBytes(_path, bytes);
    }

    public void Dispose() => _folder.Dispose();

    long DataStart() => 8 + BinaryPrimitives.ReadInt64LittleEndian(_original);
}
