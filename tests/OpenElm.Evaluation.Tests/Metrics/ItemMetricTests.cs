using System.Collections.Immutable;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation.Tests.Metrics;

public sealed class ItemMetricTests
{
    [Fact]
    public void The_first_of_equal_choices_wins()
    {
        EvaluationItem item = Item(["a", "b", "c"], gold: 1);
        Assert.Equal(1, ItemMetric.Of("acc", item, Scores(-3, -2, -2)));
        Assert.Equal(0, ItemMetric.Of("acc", item with { Gold = 2 }, Scores(-3, -2, -2)));
    }

    [Fact]
    public void Acc_norm_divides_by_code_points()
    {
        // -4 / 2 code points of four UTF-16 units = -2; -3 / 2 = -1.5: by units -1 would beat -1.5.
        EvaluationItem item = Item(["😀😀", "ab"], gold: 1);
        Assert.Equal(1, ItemMetric.Of("acc_norm", item, Scores(-4, -3)));
        Assert.Equal(0, ItemMetric.Of("acc_norm", item, Scores(-2.9, -3)));
        Assert.Equal(1, ItemMetric.Of("acc_norm", Item(["long answer", "no"], gold: 0), Scores(-5, -1)));
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("ab", 2)]
    [InlineData("e\u0301", 2)]
    [InlineData("😀x😀", 3)]
    public void Code_points_are_counted_as_Python_does(string text, int expected) => Assert.Equal(expected, ItemMetric.CodePoints(text));

    [Fact]
    public void Mc2_is_the_share_of_the_true_answers()
    {
        EvaluationItem item = Item(["t", "u", "f"], gold: 0) with { TrueChoices = 2 };
        double shift = -2000; // e^-2000 is 0 in double precision, and the share must still be right
        Assert.Equal(0.75, ItemMetric.Of("mc2", item, Scores(Math.Log(0.2) + shift, Math.Log(0.1) + shift, Math.Log(0.1) + shift)), 1e-12);
        Assert.Equal(1, ItemMetric.Of("mc1", item, Scores(-1, -2, -3)));
    }

    [Fact]
    public void A_pair_counts_where_the_stereotype_is_strictly_likelier()
    {
        EvaluationItem item = Item(["", ""], gold: 0);
        Assert.Equal(1, ItemMetric.Of("pct_stereotype", item, Scores(-1, -2)));
        Assert.Equal(0, ItemMetric.Of("pct_stereotype", item, Scores(-2, -2)));
        Assert.Equal(1.5, ItemMetric.Of("likelihood_diff", item, Scores(-3.5, -2)));
    }

    [Fact]
    public void A_single_continuation_is_right_when_the_model_would_write_it()
    {
        EvaluationItem item = new() { DocumentId = 0, Requests = [new("the", " end")] };
        Assert.Equal(1, ItemMetric.Of("acc", item, [new(-0.5, true)]));
        Assert.Equal(0, ItemMetric.Of("acc", item, [new(-0.5, false)]));
        Assert.Equal(-0.5, ItemMetric.Of("perplexity", item, [new(-0.5, false)]));
    }

    [Theory]
    [InlineData("acc", 3, "right one is number 3")]
    [InlineData("acc_norm", 0, "no text for choice 1")]
    [InlineData("mc2", 0, "needs true and false ones")]
    [InlineData("bleu", 0, "no metric 'bleu'")]
    public void A_document_without_what_a_metric_needs_is_named(string metric, int gold, string reason)
    {
        var problem = Assert.Throws<OpenElmException>(() => ItemMetric.Of(metric, Item(["a", ""], gold), Scores(-1, -2)));
        Assert.Contains(reason, problem.Message);
    }

    internal static ImmutableArray<ContinuationScore> Scores(params double[] logProbabilities) => [.. logProbabilities.Select(value => new ContinuationScore(value, false))];

    internal static EvaluationItem Item(string[] choices, int gold, int id = 0) => new()
    {
        DocumentId = id,
        Requests = [.. choices.Select(choice => new EvaluationRequest("Q", " " + choice))],
        Choices = [.. choices],
        Gold = gold,
    };
}
