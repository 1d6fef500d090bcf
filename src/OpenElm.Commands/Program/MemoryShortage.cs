using System.Globalization;
using System.Text.RegularExpressions;

namespace OpenElm.Commands;

/// <summary>
/// Recognises that something could not be allocated, in the words of .NET, of libtorch (<c>DefaultCPUAllocator: can't allocate memory: you tried to allocate 216000000 bytes</c>,
/// <c>CUDA out of memory. Tried to allocate 2.00 GiB</c>) and of CUDA's driver (<c>out of memory</c>). No bug, so it is told in one sentence, without a stack.
/// </summary>
internal static partial class MemoryShortage
{
    /// <summary>Says what could not be had.</summary>
    /// <param name="problem">What was thrown; its causes are looked at too.</param>
    /// <returns>A clause that begins with <c>out of memory</c>; null if memory is not the problem.</returns>
    public static string? Of(Exception problem)
    {
        for (Exception? cause = problem; cause is not null; cause = cause.InnerException)
        {
            if (cause is OutOfMemoryException)
            {
                return "out of memory: the .NET runtime could not have more";
            }

            if (Words().Match(cause.Message) is { Success: true } words)
            {
                return words.Groups["bytes"] is { Success: true } bytes ? $"out of memory: {decimal.Parse(bytes.Value, CultureInfo.InvariantCulture):n0} bytes more could not be had"
                    : words.Groups["size"] is { Success: true } size ? $"out of memory: {size.Value} more could not be had on the GPU"
                    : "out of memory: more could not be had on the GPU";
            }
        }

        return null;
    }

    [GeneratedRegex("(?:can't allocate memory|not enough memory): you tried to allocate (?<bytes>[0-9]+) bytes|out of memory(?:. Tried to allocate (?<size>[0-9.]+ [KMG]iB))?", RegexOptions.IgnoreCase)]
    private static partial Regex Words();
}
