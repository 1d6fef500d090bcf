namespace OpenElm;

/// <summary>
/// What a user can fix: a bad configuration, file, checkpoint or request. The message is one sentence that says what is
/// wrong, where, and what to do; the command line prints it and exits with code 2. Any other exception is our bug.
/// </summary>
public sealed class OpenElmException : Exception
{
    /// <summary>Creates the exception without a message; prefer the other constructors.</summary>
    public OpenElmException()
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is wrong, where, and what to do.</param>
    public OpenElmException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with the failure that caused it.</summary>
    /// <param name="message">What is wrong, where, and what to do.</param>
    /// <param name="innerException">The cause.</param>
    public OpenElmException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Reports several problems of one input at once.</summary>
    /// <param name="subject">What was examined, for example <c>Invalid sampling options</c>.</param>
    /// <param name="problems">One sentence for each problem.</param>
    /// <returns>The exception to throw.</returns>
    public static OpenElmException Of(string subject, IReadOnlyCollection<string> problems) =>
        new(problems.Count == 1 ? $"{subject}: {problems.First()}" : $"{subject}:\n  {string.Join("\n  ", problems)}");
}
