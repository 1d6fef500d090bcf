namespace OpenElm.Inference;

/// <summary>An adapter to apply beside the weights, and how strongly.</summary>
/// <param name="Path">A folder in PEFT's layout, or a file with CoreNet's names.</param>
/// <param name="Scale">A factor of its scaling α/rank; 1 as it was trained.</param>
public readonly record struct AdapterPath(string Path, double Scale = 1);
