// Turns a clone of the public repository mlschmitt/classic-books-markdown into the corpus of configs/training/books.yaml.
//
//   git clone https://github.com/mlschmitt/classic-books-markdown
//   dotnet run eng/books.cs classic-books-markdown corpus/books
//
// Novels, histories and treatises published until 1900, markdown removed, cut between paragraphs into parts of about 8,000
// characters, each once, in the order of their SHA-256, which is as good as a shuffle. The books that
// samples/pretrain/validation.jsonl.gz holds are left out. Same clone, same files.
#:property NoWarn=RS0030
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

const int PartCharacters = 8_000, SmallestPart = 200, LastYear = 1900, ShardCharacters = 32_000_000;
HashSet<string> heldOut = ["Ozma of Oz", "Through the Looking-Glass", "The Canterville Ghost"];

if (args is not [var clone, var output] || !Directory.Exists(clone))
{
    Console.Error.WriteLine("Usage: dotnet run eng/books.cs CLONE OUT, where CLONE is a work tree of mlschmitt/classic-books-markdown.");
    return 2;
}

var rows = new SortedDictionary<string, JsonObject>(StringComparer.Ordinal);
int books = 0;
foreach (string path in Directory.GetFiles(clone, "*.md", SearchOption.AllDirectories).Where(path => Path.GetDirectoryName(path) != Path.GetFullPath(clone).TrimEnd('/')).Order(StringComparer.Ordinal))
{
    string text = File.ReadAllText(path);
    string title = Field(text, "Title") ?? Path.GetFileNameWithoutExtension(path);
    if (!int.TryParse(Regex.Match(Field(text, "Year") ?? "", @"^-?\d+").Value, out int year) || year > LastYear || heldOut.Contains(title))
    {
        continue;
    }

    books++;
    int number = 0;
    foreach (string part in Parts(Paragraphs(text)))
    {
        rows.TryAdd(Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(part))), new JsonObject
        {
            ["text"] = part,
            ["title"] = title,
            ["author"] = Field(text, "Author") ?? Path.GetFileName(Path.GetDirectoryName(path)),
            ["year"] = year,
            ["part"] = number++,
        });
    }
}

Directory.CreateDirectory(output);
var options = new System.Text.Json.JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
int shards = 0;
long characters = 0;
foreach (IGrouping<long, JsonObject> shard in rows.Values.GroupBy(row => (characters += ((string)row["text"]!).Length) / ShardCharacters))
{
    using var writer = new StreamWriter(new GZipStream(File.Create(Path.Combine(output, $"books-{shards++:d5}.jsonl.gz")), CompressionLevel.SmallestSize));
    foreach (JsonObject row in shard)
    {
        writer.Write(row.ToJsonString(options) + "\n");
    }
}

Console.WriteLine($"{books} books, {rows.Count:n0} documents, {characters / 1e6:0.0} million characters, {shards} files");
return 0;

static string? Field(string text, string name) =>
    Regex.Match(text, $@"^#+ {name}:[ \t]*(\S[^\n]*?)[ \t\r]*$", RegexOptions.Multiline) is { Success: true } found ? found.Groups[1].Value : null;

static IEnumerable<string> Paragraphs(string text)
{
    int head = text.IndexOf("-------", StringComparison.Ordinal);
    text = head < 0 ? text : text[(head + 7)..];
    text = Regex.Replace(text, @"!\[[^\]]*\]\([^)]*\)|<[^>\n]{1,80}>", ""); // pictures, tags
    text = Regex.Replace(text, @"\[([^\]]*)\]\([^)]*\)", "$1");             // links
    text = Regex.Replace(text, @"^#+\s*", "", RegexOptions.Multiline);
    text = Regex.Replace(text, @"(?<!\w)[_*]{1,3}(\S(?:.*?\S)?)[_*]{1,3}(?!\w)", "$1");
    return Regex.Split(text, @"\n\s*\n").Select(paragraph => Regex.Replace(paragraph, "[ \t]+", " ").Trim()).Where(paragraph => paragraph.Length > 0);
}

static IEnumerable<string> Parts(IEnumerable<string> paragraphs)
{
    var part = new List<string>();
    int size = 0;
    foreach (string paragraph in paragraphs)
    {
        part.Add(paragraph);
        size += paragraph.Length + 2;
        if (size >= PartCharacters)
        {
            yield return string.Join("\n\n", part);
            part.Clear();
            size = 0;
        }
    }

    if (size >= SmallestPart)
    {
        yield return string.Join("\n\n", part);
    }
}
