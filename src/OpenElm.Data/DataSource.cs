using System.Collections.Immutable;

namespace OpenElm.Data;

/// <summary>One line of a corpus: a file, or a numbered family of files, and where a record keeps its text.</summary>
public sealed record DataSource : IValidated
{
    /// <summary>
    /// File name, relative to the configuration's folder unless rooted. <c>{file_id}</c> (also <c>{file_id:05d}</c>)
    /// stands for every id of <see cref="FileIdRange"/>; a literal brace is written twice.
    /// </summary>
    public required string FileName { get; init; }

    /// <summary>The JSON key or parquet column that holds the text. Plain text files have no key and ignore it.</summary>
    public string TextKey { get; init; } = "text";

    /// <summary>First file id and the id after the last, <c>[a, b]</c>; <c>[0, 1]</c> is a single file.</summary>
    public ImmutableArray<int> FileIdRange { get; init; } = [0, 1];

    /// <inheritdoc/>
    public void Validate(string path, List<string> problems) => Files.FilePattern.Validate(this, path, problems);
}
