using System.Diagnostics;
using System.Text;

namespace OpenElm.Tests.Tokenization;

/// <summary>Runs SentencePiece's own programs (Debian's package <c>sentencepiece</c>), where they are installed.</summary>
internal static class SentencePiecePrograms
{
    public static void SkipWithout(string program) =>
        Assert.SkipUnless(
            (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program))),
            $"{program} is not on the PATH: install SentencePiece's programs (Debian: apt-get install sentencepiece)");

    public static string Run(string program, string input, params string[] arguments)
    {
        SkipWithout(program);
        var utf8 = new UTF8Encoding(false);
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = utf8,
            StandardOutputEncoding = utf8,
        })!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}: {errors.Result}");
        return output.Result;
    }

    /// <summary>Ids of each line, by <c>spm_encode</c>.</summary>
    public static int[][] Encode(byte[] model, IReadOnlyList<string> lines)
    {
        string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.model");
        try
        {
            File.WriteAllBytes(path, model);
            string output = Run("spm_encode", string.Concat(lines.Select(line => line + "\n")), "--model=" + path, "--output_format=id");
            return [.. output.Split('\n').Take(lines.Count).Select(line =>
                line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse).ToArray())];
        }
        finally
        {
            File.Delete(path);
        }
    }
}
