using System.Text;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Quantization;

namespace OpenElm.Benchmarks.Quantization;

/// <summary>Importance in the form that llama-quantize's <c>--imatrix</c> reads: a count, then for each tensor name, calls, and one float a column.</summary>
internal static class ImportanceFile
{
    public static void Write(string path, Checkpoint gguf, ImportanceWeights importance)
    {
        using var writer = new BinaryWriter(File.Create(path));
        (string Name, float[] Columns)[] entries = [.. gguf.Weights.Values
            .Select(weight => (weight, Columns: importance.Of(weight.Name, weight.Name == TensorNames.Embedding).ToArray()))
            .Where(entry => entry.Columns.Length > 0)
            .SelectMany(entry => entry.weight.Parts.Select(part => (part.Name, entry.Columns)))];
        writer.Write(entries.Length);
        foreach ((string name, float[] columns) in entries)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(name);
            writer.Write(bytes.Length);
            writer.Write(bytes);
            writer.Write(1); // calls: the numbers are means already
            writer.Write(columns.Length);
            Array.ForEach(columns, writer.Write);
        }
    }
}
