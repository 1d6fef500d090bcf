using System.Runtime.InteropServices;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Memory for machine code: pages are written first and made executable afterwards, and are never both at once. Code stays for the life of
/// the process, as the code of the runtime does.
/// </summary>
internal static unsafe partial class ExecutableMemory
{
    const int Read = 1, Write = 2, Execute = 4;
    const int Private = 2, Anonymous = 0x20; // as Linux numbers them

    /// <summary>Copies code to pages of its own and makes them executable.</summary>
    /// <param name="code">Position-independent code.</param>
    /// <returns>Its first byte, aligned to a page.</returns>
    /// <exception cref="OpenElmException">The system gives no memory, or forbids to execute it.</exception>
    public static nint Load(ReadOnlySpan<byte> code)
    {
        nuint bytes = (nuint)((code.Length + Environment.SystemPageSize - 1) & -Environment.SystemPageSize);
        nint address = Map(0, bytes, Read | Write, Private | Anonymous, -1, 0);
        if (address == -1)
        {
            throw Refused("map");
        }

        code.CopyTo(new Span<byte>((void*)address, code.Length));
        if (Protect(address, bytes, Read | Execute) != 0)
        {
            OpenElmException refused = Refused("execute");
            _ = Unmap(address, bytes);
            throw refused;
        }

        return address;
    }

    static OpenElmException Refused(string what) => new(
        $"The system refuses to {what} memory for assembled kernels ({Marshal.GetLastPInvokeErrorMessage()}); choose another set with {CpuKernels.EnvironmentVariable}.");

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nuint bytes, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nuint bytes, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nuint bytes);
}
