using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Engine;

public sealed class AnswerCacheTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    static readonly TokenWindow One = new([1, 2], [3]), Two = new([1], [2, 3]), Three = new([1, 2, 3], [4]);

    [Fact]
    public void Answers_come_back_bit_by_bit()
    {
        ContinuationScore[] scores = [new(-1.0 / 3, true), new(-double.Epsilon, false), new(-123456.789e10, true)];
        using (AnswerCache cache = Open())
        {
            cache.Add(One, scores[0]);
            cache.Add(Two, scores[1]); // the same tokens, another border
            cache.Add(Three, scores[2]);
            Assert.Equal(scores[0], Get(cache, One)); // known at once
        }

        using AnswerCache again = Open();
        Assert.Equal(scores, new[] { One, Two, Three }.Select(window => Get(again, window)!.Value));
        Assert.Equal(3, again.Count);
        Assert.Null(Get(again, new([1, 2], [4])));
    }

    [Fact]
    public void Written_answers_come_back_with_their_settings()
    {
        var four = new GenerationRequest([1, 2], new GenerationSettings { Beams = 4 });
        GenerationRequest[] others = [
            four with { Prompt = [1] }, four with { Settings = new() { Beams = 2 } }, four with { Settings = new() { Beams = 4, MaxTokens = 8 } },
            four with { Settings = new() { Beams = 4, IgnoreEos = true } }];
        using (AnswerCache cache = Open())
        {
            cache.AddText(four, [7, 0, 12]);
            cache.AddText(others[0], []);
            cache.Add(One, new(-1.25, true));
        }

        using (AnswerCache again = Open(warn: warning => Assert.Fail(warning)))
        {
            Assert.Equal(3, again.Count);
            Assert.True(again.TryGetText(four, out ImmutableArray<int> tokens));
            Assert.Equal([7, 0, 12], tokens);
            Assert.True(again.TryGetText(others[0], out tokens));
            Assert.Empty(tokens);
            Assert.All(others[1..], other => Assert.False(again.TryGetText(other, out _)));
            Assert.Equal(new ContinuationScore(-1.25, true), Get(again, One));
        }

        System.IO.File.WriteAllText(File(), System.IO.File.ReadAllText(File()).Replace("7,0,12", "7,0,13", StringComparison.Ordinal));
        using AnswerCache damaged = Open(warn: _ => { });
        Assert.False(damaged.TryGetText(four, out _));
    }

    [Fact]
    public void Models_do_not_share_answers()
    {
        using (AnswerCache cache = Open())
        {
            cache.Add(One, new(-1, true));
        }

        using AnswerCache other = Open("other");
        Assert.Equal(0, other.Count);
    }

    [Fact]
    public void Damaged_and_foreign_lines_are_reported_and_not_trusted()
    {
        using (AnswerCache cache = Open())
        {
            cache.Add(One, new(-1.25, true));
            cache.Add(Two, new(-2.5, false));
            cache.Add(Three, new(-3.5, false));
        }

        string path = File(), whole = System.IO.File.ReadAllText(path);
        string[] lines = whole.Split('\n');
        var warnings = new List<string>();
        (string Damage, int Left)[] cases = [
            (whole.Replace("-1.25 ", "-1.26 "), 2), // a changed score
            (whole.Replace(" -1.25 1 ", " -1.25 0 "), 2), // a changed bit
            (whole[..^5], 2), // killed while writing
            (whole + "\n\0\0\0\0\0\0\0\0\n", 3), // blocks that were never written
            ($"{lines[0]}\n{lines[1]}\nhello\n{lines[2]} \n{lines[3][1..]}\n", 1)];
        foreach ((string damage, int left) in cases)
        {
            System.IO.File.WriteAllText(path, damage);
            warnings.Clear();
            using AnswerCache cache = Open(warn: warnings.Add);
            Assert.Equal(left, cache.Count);
            Assert.Contains(path, Assert.Single(warnings));
        }

        Assert.Contains("3 damaged or unfinished lines (the first is line 3)", warnings[0]);

        // The file of another model, renamed, or its lines copied.
        using (AnswerCache other = Open("other"))
        {
            other.Add(One, new(-9, true));
        }

        System.IO.File.Copy(File("other"), path, overwrite: true);
        warnings.Clear();
        using (AnswerCache cache = Open(warn: warnings.Add))
        {
            Assert.Equal(0, cache.Count);
            Assert.Contains("another model", Assert.Single(warnings));
        }

        System.IO.File.WriteAllText(path, lines[0] + "\n" + System.IO.File.ReadAllLines(File("other"))[1] + "\n");
        using (AnswerCache cache = Open(warn: warnings.Add))
        {
            Assert.Equal(0, cache.Count);
        }

        Assert.Contains("1 damaged", warnings[1]);
    }

    [Fact]
    public void Two_at_once_lose_nothing()
    {
        const int Each = 500;
        using (AnswerCache a = Open(), b = Open())
        {
            Parallel.Invoke(() => Fill(a, 0), () => Fill(b, Each));
            using AnswerCache reader = Open(warn: warning => Assert.Fail(warning)); // while both are still writing
            Assert.Equal(2 * Each, reader.Count);
        }

        using AnswerCache all = Open(warn: warning => Assert.Fail(warning));
        for (int i = 0; i < 2 * Each; i++)
        {
            Assert.Equal(new ContinuationScore(-i, false), Get(all, new([i], [i])));
        }

        static void Fill(AnswerCache cache, int first)
        {
            for (int i = first; i < first + Each; i++)
            {
                cache.Add(new([i], [i]), new(-i, false));
            }
        }
    }

    [Fact]
    public void A_folder_that_cannot_be_used_is_named()
    {
        System.IO.File.WriteAllText(_folder["answers"], "a file");
        using AnswerCache cache = Open();
        Assert.Contains(_folder["answers"], Assert.Throws<OpenElmException>(() => cache.Add(One, new(-1, true))).Message);
    }

    public void Dispose() => _folder.Dispose();

    AnswerCache Open(string model = "model", Action<string>? warn = null) => AnswerCache.Open(_folder["answers"], model, warn);

    string File(string model = "model") => Directory.GetFiles(Path.Combine(_folder["answers"], model)).Single();

    static ContinuationScore? Get(AnswerCache cache, TokenWindow window) => cache.TryGet(window, out ContinuationScore score) ? score : null;
}
