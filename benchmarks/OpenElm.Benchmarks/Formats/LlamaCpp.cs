using System.Diagnostics;
using System.Runtime.InteropServices;

namespace OpenElm.Benchmarks.Formats;

/// <summary>llama.cpp's programs, as referees.</summary>
/// <param name="folder">Where <c>llama-logits</c> and <c>llama-quantize</c> were built.</param>
internal sealed class LlamaCpp(string folder)
{
    /// <summary>Logits of sequences, from token ids that nothing is prepended to.</summary>
    /// <returns>[all positions, vocab].</returns>
    public float[] Logits(string gguf, IEnumerable<IEnumerable<int>> sequences)
    {
        string ids = gguf + ".ids", output = gguf + ".logits";
        File.WriteAllLines(ids, sequences.Select(tokens => string.Join(' ', tokens)));
        Run("llama-logits", gguf, ids, output, "0", "2");
        return MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(output)).ToArray();
    }

    /// <summary>Quantises, or takes a quantised file back to floats.</summary>
    public void Quantize(string source, string destination, string type, params string[] options) =>
        Run("llama-quantize", ["--allow-requantize", .. options, source, destination, type]);

    void Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(folder, program), arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}:\n{output.Result}\n{error.Result}");
        }
    }
}
