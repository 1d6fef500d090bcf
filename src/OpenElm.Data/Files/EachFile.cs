using System.Collections.Immutable;

namespace OpenElm.Data.Files;

/// <summary>Work on several files at a time.</summary>
internal static class EachFile
{
    /// <summary>Runs the work on every file. The first failure is thrown as itself: the user reads one sentence, not an aggregate.</summary>
    public static void Run(ImmutableArray<DataFile> files, int workers, Action<DataFile> work, CancellationToken cancel)
    {
        try
        {
            Parallel.ForEach(files, new ParallelOptions { MaxDegreeOfParallelism = workers, CancellationToken = cancel }, work);
        }
        catch (AggregateException e)
        {
            cancel.ThrowIfCancellationRequested();
            throw e.InnerExceptions.OfType<OpenElmException>().FirstOrDefault() is { } problem ? new OpenElmException(problem.Message, problem) : e;
        }
    }
}
