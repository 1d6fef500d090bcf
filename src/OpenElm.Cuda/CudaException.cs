namespace OpenElm.Cuda;

/// <summary>A CUDA library is missing, refuses what it was asked, or a kernel's source does not compile.</summary>
public sealed class CudaException : Exception
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What failed, in the library's words where it has some.</param>
    /// <param name="inner">What the system's loader threw, if it did.</param>
    public CudaException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
