namespace OpenElm.Quantization;

/// <summary>Which scales and offsets a search tries first: level 0 and the highest level lie inside or outside of the ends of the block's range.</summary>
/// <param name="Highest">The highest level; the lowest is 0.</param>
/// <param name="Inside">How many steps inside of the range an end may lie (the extremes are clipped then).</param>
/// <param name="Outside">How many steps outside.</param>
/// <param name="Precision">How scale and offset are stored.</param>
/// <param name="AtMostZero">Whether the offset must not be positive.</param>
internal readonly record struct OffsetGrid(int Highest, float Inside, float Outside, ScalePrecision Precision, bool AtMostZero = false);
