using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using OpenElm.Evaluation.Data;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Data;

namespace OpenElm.Evaluation.Tests.Oracle;

/// <summary>
/// Request lines equal those that the harness' own task files and few-shot sampler make at the paper's commit, byte by byte: on made-up data of the official
/// form, and by hash on the real data. <c>harness_requests.py</c> beside this file made both and says how.
/// </summary>
public sealed class HarnessRequestTests
{
    static string MadeUp => Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Evaluation.Tests", "Oracle", "made-up");

    static readonly Lazy<ILookup<string, string>> Expected = new(() => File.ReadLines(Path.Combine(MadeUp, "requests.jsonl")).ToLookup(line => line.Split('"')[3]));

    /// <summary>Of each task and number of examples: <c>arc_easy:3</c>.</summary>
    public static TheoryData<string> Cases => [.. Expected.Value.Select(lines => lines.Key)];

    [Theory, MemberData(nameof(Cases))]
    public void Made_up_rows_give_the_lines_of_the_harness(string name)
    {
        string[] parts = name.Split(':');
        string lines = Lines(parts[0], name, int.Parse(parts[1]), new EvaluationData(MadeUp));
        Assert.Equal(Expected.Value[name], lines.TrimEnd('\n').Split('\n'));
    }

    [Theory]
    [InlineData("arc_easy", 0, "56c35ac7682824ba800911c00e33c7430e2f1fc6090796fe62b8b8b4d5ac1f6a")]
    [InlineData("arc_easy", 25, "1f13825b6fa7427f077c618cd1cde2f3a8e405b1f7dae4b77cf7b94343a42c13")]
    [InlineData("arc_challenge", 0, "3b4cccd53537317797404e7fc2da2ef065d136595325a0398b826de1641ad48e")]
    [InlineData("arc_challenge", 25, "1620f47dae4f383ba0bff7e2bca24594feb5d6a0384ab44ce9537f160c567172")]
    [InlineData("boolq", 0, "8f5af9564facaf0d3e7371f4f93a6270d9547af46dfc11fb68a0a2939f34c90e")]
    [InlineData("piqa", 0, "ba8d8e20e7a97255ad6b7785e18de977f8d12245ef1ec57bebf3df147db05ca9")]
    [InlineData("winogrande", 0, "7e65db4d60903b23deff136b71bfe70f7cf8ed9ca0bd5ea80522a3701eabd1fd")]
    [InlineData("openbookqa", 0, "239398c27c0bc88708960a2138c416357df1ce93aec482292173fe02b6f48169")]
    [InlineData("social_iqa", 0, "3ec58478f1175920f3f0d7fdf17eb42f3d2978441443eef76a2966e8bea0c0bc")]
    [InlineData("lambada_openai", 0, "03b48312ff0d6fa0094c686341ad69ebef03e764ad32009a9c669bd7a9ef3b5c")]
    [InlineData("truthfulqa_mc1", 0, "f90620e07a5b8bd8acfa7bcb45c75bf304b2a30e791863458302cbafbf62ce4c")]
    [InlineData("truthfulqa_mc2", 0, "e44cf59c99691a589a018b3f430c4cfe385aa26a9ce9976d745d569c1e24f302")]
    [InlineData("crows_pairs_english", 25, "9fc928a5dc2c62c996a5de54ee2f1677a9ee8d29441ac0664f0d3eb59f9e8246")]
    [InlineData("mmlu_anatomy", 5, "cbc3551c1e5753c158af77a91c467c8ec6df64b1f9d1a29a0dde38ddd75b244a")]
    [InlineData("mmlu_us_foreign_policy", 5, "a093e5d7b297d7e3334adc58e0901d4f71b6e1fb641dcb685f4716a1b250cbd1")]
    [InlineData("mmlu_high_school_us_history", 5, "cc21fd01db654c6a65e579b5e13f85e7d7644596f39ab9c77ff54d1b31501b74")]
    public void Real_rows_give_the_lines_of_the_harness(string task, int shots, string sha256)
    {
        string lines = Lines(task, task, shots, EvaluationFolder.Required());
        Assert.Equal(sha256, Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(lines))));
    }

    static string Lines(string task, string name, int shots, EvaluationData data)
    {
        ImmutableArray<EvaluationItem> items = TaskCatalog.Get(task).Single().Prepare(data, new ItemOptions { Shots = shots }).Items;
        using var writer = new StringWriter();
        RequestLines.Write(writer, name, items);
        return writer.ToString();
    }
}
