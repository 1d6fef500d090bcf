using System.Collections.Immutable;

namespace OpenElm.Scoring;

/// <summary>What every scorer asks of the groups it is given.</summary>
public static class ContinuationGroupRules
{
    const int ProblemsShown = 10;

    /// <summary>Checks groups before anything is computed.</summary>
    /// <param name="groups">The groups.</param>
    /// <param name="maxLength">Tokens that a sequence may have; a continuation's last token is not fed.</param>
    /// <param name="candidates">Ids below this can be scored.</param>
    /// <exception cref="OpenElmException">A group is empty or too long, or has an id that cannot be scored; the message lists the first of them.</exception>
    public static void Check(IReadOnlyList<ContinuationGroup> groups, int maxLength, int candidates)
    {
        ArgumentNullException.ThrowIfNull(groups);
        var problems = new List<string>();
        for (int i = 0; i < groups.Count && problems.Count < ProblemsShown; i++)
        {
            if (Problem(groups[i], maxLength, candidates) is { } problem)
            {
                problems.Add($"group {i} {problem}");
            }
        }

        if (problems is not [])
        {
            throw OpenElmException.Of("These requests cannot be scored", problems);
        }
    }

    static string? Problem(ContinuationGroup group, int maxLength, int candidates)
    {
        if (group.Context.IsDefaultOrEmpty)
        {
            return "has no context; begin with BOS or EOS";
        }

        if (group.Continuations.IsDefaultOrEmpty || group.Continuations.Any(tokens => tokens.IsDefaultOrEmpty))
        {
            return "has a continuation without tokens, or none";
        }

        int fed = group.Context.Length + group.Continuations.Max(tokens => tokens.Length) - 1;
        return fed > maxLength ? $"needs {fed} tokens; the limit is {maxLength}"
            : Foreign(group.Context, candidates) ?? group.Continuations.Select(tokens => Foreign(tokens, candidates)).FirstOrDefault(text => text is not null);
    }

    static string? Foreign(ImmutableArray<int> tokens, int candidates)
    {
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)candidates)
            {
                return $"has the token id {token}; ids go from 0 to {candidates - 1}";
            }
        }

        return null;
    }
}
