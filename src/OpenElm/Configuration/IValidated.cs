namespace OpenElm;

/// <summary>
/// A record of options that knows which values are possible. The strict readers call it on every record they bind,
/// nested ones included, so an implementation looks at its own values only.
/// </summary>
public interface IValidated
{
    /// <summary>Adds one sentence for each impossible value.</summary>
    /// <param name="path">The record's own place, for example <c>trainer.optimizer</c>; empty for the outermost record.</param>
    /// <param name="problems">
    /// Receives sentences that begin with the dotted path of the value they are about, such as
    /// <c>trainer.max_steps is 0; it must be at least 1.</c>; the reader puts the file and line of that path before them.
    /// </param>
    void Validate(string path, List<string> problems);
}

/// <summary>Writes problems in the form that <see cref="IValidated"/> asks for.</summary>
public static class ValidationProblems
{
    /// <summary>The path of a key inside a record.</summary>
    /// <param name="path">The record's path; empty for the outermost record.</param>
    /// <param name="key">The key, in snake_case as the user writes it.</param>
    /// <returns>The dotted path.</returns>
    public static string PathOf(string path, string key) => path.Length == 0 ? key : $"{path}.{key}";

    /// <summary>Adds a problem unless a condition holds. Written so that NaN fails every comparison.</summary>
    /// <param name="problems">Receives the problem.</param>
    /// <param name="holds">What must be true.</param>
    /// <param name="path">The record's path.</param>
    /// <param name="key">The key of the value, in snake_case.</param>
    /// <param name="problem">What follows the path, such as <c>is 0; it must be at least 1.</c></param>
    public static void Require(this List<string> problems, bool holds, string path, string key, string problem)
    {
        if (!holds)
        {
            problems.Add($"{PathOf(path, key)} {problem}");
        }
    }
}
