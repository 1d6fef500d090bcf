using System.Collections.Immutable;
using OpenElm.Data.Rows;

namespace OpenElm.Evaluation.Tasks;

/// <summary>What a task does to its rows before templates see them; what templates cannot say stands in code.</summary>
internal enum RowPreparation
{
    /// <summary>Cleans raw rows of HellaSwag; finished ones are taken as they are.</summary>
    Hellaswag,

    /// <summary>Makes one row of all questions of an article.</summary>
    Race,

    /// <summary>Cuts the lines of a file into articles, and undoes the tokenizing.</summary>
    Wikitext,

    /// <summary>Finds the answers in the instruction.</summary>
    Commonsense,
}

/// <summary>Applies a <see cref="RowPreparation"/>.</summary>
internal static class PreparedRows
{
    /// <summary>Prepares rows.</summary>
    /// <param name="rows">As they were read.</param>
    /// <param name="preparation">How.</param>
    /// <returns>As templates see them.</returns>
    public static ImmutableArray<DataRow> Of(ImmutableArray<DataRow> rows, RowPreparation? preparation) => preparation switch
    {
        RowPreparation.Hellaswag => [.. rows.Select(HellaSwagRows.Cleaned)],
        RowPreparation.Race => RaceArticles.Of(rows),
        RowPreparation.Wikitext => WikiTextPages.Of(rows),
        RowPreparation.Commonsense => [.. rows.Select(CommonsenseQuestion.WithCandidates)],
        _ => rows,
    };
}
