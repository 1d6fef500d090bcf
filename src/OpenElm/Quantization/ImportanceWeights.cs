using System.Collections.Immutable;

namespace OpenElm.Quantization;

/// <summary>
/// How much an error in each column of a matrix counts: the mean square of the activation that the column is multiplied with,
/// over the tokens of a text.
/// </summary>
/// <param name="Columns">For each matrix, by CoreNet's name, [in].</param>
/// <param name="Tokens">How many tokens were looked at.</param>
public sealed record ImportanceWeights(ImmutableDictionary<string, ImmutableArray<float>> Columns, long Tokens)
{
    /// <summary>The importance of a matrix's columns.</summary>
    /// <param name="name">CoreNet's name.</param>
    /// <param name="isTiedEmbedding">Whether the matrix is head and embedding at once: as an embedding all its columns count alike, so each counts half as what it is there.</param>
    /// <returns>[in], or empty where the matrix was not seen: all columns alike.</returns>
    public ReadOnlyMemory<float> Of(string name, bool isTiedEmbedding)
    {
        if (!Columns.TryGetValue(name, out ImmutableArray<float> columns))
        {
            return ReadOnlyMemory<float>.Empty;
        }

        float mean = columns.Average();
        return isTiedEmbedding ? columns.Select(column => column + mean).ToArray() : columns.AsMemory();
    }
}
