using System.Globalization;
using System.Text;
using OpenElm.Data.Readers;

namespace OpenElm.Data.Files;

/// <summary>Expands <c>name-{file_id:05d}.jsonl</c>; the subset of Python's format strings that such names use.</summary>
internal static class FilePattern
{
    const string Field = "file_id";

    /// <summary>Adds a sentence for everything wrong with the source, without touching the disk.</summary>
    public static void Validate(DataSource source, string path, List<string> problems)
    {
        string name = source.FileName;
        problems.Require(!string.IsNullOrEmpty(source.TextKey), path, "text_key", "is blank; name the key or column that holds the text.");
        if (string.IsNullOrWhiteSpace(name))
        {
            problems.Require(false, path, "file_name", "is blank; name a file.");
            return;
        }

        if (name.Contains("://", StringComparison.Ordinal))
        {
            problems.Require(false, path, "file_name", $"is '{name}', and only local files can be read; copy the files to a local folder.");
            return;
        }

        string? wrong = TryExpand(name, 0, out string expanded, out bool numbered);
        if (wrong is not null)
        {
            problems.Require(false, path, "file_name", $"'{name}' {wrong}");
            return;
        }

        problems.Require(DocumentFormat.OfFile(expanded) is not null, path, "file_name",
            $"'{name}' has an ending that is not known; supported are {DocumentFormat.Endings}.");
        if (source.FileIdRange is not { IsDefault: false, Length: 2 })
        {
            problems.Require(false, path, "file_id_range", "must hold two numbers, the first id and the id after the last, as in [0, 3].");
            return;
        }

        (int first, int end) = (source.FileIdRange[0], source.FileIdRange[1]);
        problems.Require(first >= 0 && end > first, path, "file_id_range",
            $"is [{first}, {end}] and names no file; the second number must be above the first, and neither below 0.");
        problems.Require(numbered || end - first <= 1, path, "file_id_range",
            $"is [{first}, {end}], but '{name}' has no {{file_id}}, so it would read the same file {end - first} times; use [0, 1] or put {{file_id}} into the name.");
    }

    /// <summary>The names of a valid source, in the order of their ids.</summary>
    public static IEnumerable<string> Expand(DataSource source)
    {
        for (int id = source.FileIdRange[0]; id < source.FileIdRange[1]; id++)
        {
            string? wrong = TryExpand(source.FileName, id, out string name, out _);
            yield return wrong is null ? name : throw new InvalidOperationException(wrong);
        }
    }

    static string? TryExpand(string pattern, int id, out string name, out bool numbered)
    {
        var text = new StringBuilder(pattern.Length);
        name = "";
        numbered = false;
        for (int i = 0; i < pattern.Length; i++)
        {
            char c = pattern[i];
            if (c is not ('{' or '}'))
            {
                text.Append(c);
            }
            else if (i + 1 < pattern.Length && pattern[i + 1] == c)
            {
                text.Append(c);
                i++;
            }
            else
            {
                int end = c == '{' ? pattern.IndexOf('}', i) : -1;
                if (end < 0)
                {
                    return $"has an unpaired '{c}'; write it twice if it belongs to the name.";
                }

                string field = pattern[(i + 1)..end];
                if (Format(field, id) is not { } number)
                {
                    return $"holds '{{{field}}}'; only {{file_id}}, {{file_id:d}} and widths such as {{file_id:05d}} are known.";
                }

                text.Append(number);
                numbered = true;
                i = end;
            }
        }

        name = text.ToString();
        return null;
    }

    /// <summary><c>file_id</c> with an optional <c>:[0][width][d]</c>; null if it is anything else.</summary>
    static string? Format(string field, int id)
    {
        string number = id.ToString(CultureInfo.InvariantCulture);
        if (field == Field)
        {
            return number;
        }

        if (!field.StartsWith(Field + ":", StringComparison.Ordinal))
        {
            return null;
        }

        ReadOnlySpan<char> format = field.AsSpan(Field.Length + 1);
        format = format.EndsWith("d") ? format[..^1] : format;
        if (format.IsEmpty)
        {
            return number;
        }

        if (format.Length > 3 || format.ContainsAnyExceptInRange('0', '9'))
        {
            return null;
        }

        int width = int.Parse(format, CultureInfo.InvariantCulture);
        return number.PadLeft(width, format[0] == '0' ? '0' : ' ');
    }
}
