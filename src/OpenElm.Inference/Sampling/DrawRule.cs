namespace OpenElm.Inference.Sampling;

/// <summary>How <see cref="RandomDraw"/> draws where neither penalties nor typical-p take part, so that the place that has the logits can do it.</summary>
/// <param name="Temperature">Divides the logits; positive.</param>
/// <param name="TopK">Keeps this many of the largest logits; 0 keeps all.</param>
/// <param name="Dropped">1 − top-p; 0 keeps all.</param>
/// <param name="MinP">Drops tokens less likely than this share of the likeliest; 0 keeps all.</param>
/// <param name="Random">One number a token.</param>
internal sealed record DrawRule(float Temperature, int TopK, float Dropped, float MinP, Random Random);
