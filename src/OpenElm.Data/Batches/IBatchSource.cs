namespace OpenElm.Data;

/// <summary>Training batches in one fixed order, and a place in that order that can be saved. For one consumer; not thread-safe.</summary>
/// <typeparam name="TBatch">What one forward pass takes.</typeparam>
public interface IBatchSource<out TBatch> : IDisposable
{
    /// <summary>Where the next batch begins.</summary>
    IDataPosition Position { get; }

    /// <summary>Time that <see cref="Next"/> waited for a batch that was not ready.</summary>
    TimeSpan Waited { get; }

    /// <summary>The next batch.</summary>
    /// <param name="cancel">Ends the wait for it.</param>
    /// <returns>The batch.</returns>
    /// <exception cref="OpenElmException">The data cannot be read.</exception>
    TBatch Next(CancellationToken cancel = default);
}

/// <summary>A place in the order of batches: opened there, a source gives the same next batch.</summary>
public interface IDataPosition
{
    /// <summary>Writes the position as JSON.</summary>
    /// <returns>One object.</returns>
    string ToJson();
}
