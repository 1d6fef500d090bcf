namespace OpenElm.Quantization;

/// <summary>
/// Which scales a search tries first. A scale is named by the level that the largest number of the block falls on: above the
/// highest level that number is clipped, below it the outermost levels stay unused.
/// </summary>
/// <param name="Lowest">The lowest level, 0 or negative.</param>
/// <param name="Highest">The highest level.</param>
/// <param name="Below">How far below the outermost level the largest number of the first candidate falls.</param>
/// <param name="Step">How much higher it falls for each next candidate; a power of 2, so that whole levels are among them.</param>
/// <param name="Passes">Candidates of each sign, in sixteens.</param>
internal readonly record struct ScaleGrid(int Lowest, int Highest, float Below, float Step, int Passes);
