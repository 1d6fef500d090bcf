namespace OpenElm.Data;

/// <summary>One rank's part of the global order: batches Rank, Rank + World, Rank + 2 World, … after the start.</summary>
/// <param name="Rank">This process, from 0.</param>
/// <param name="World">Number of processes.</param>
public readonly record struct DataSlice(int Rank, int World)
{
    /// <summary>All batches.</summary>
    public static DataSlice Whole { get; } = new(0, 1);
}
