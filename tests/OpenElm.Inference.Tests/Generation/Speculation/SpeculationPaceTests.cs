using OpenElm.Inference.Generation.Speculation;

namespace OpenElm.Inference.Tests.Generation.Speculation;

public sealed class SpeculationPaceTests
{
    [Fact]
    public void A_draft_model_proposes_two_more_or_one_less()
    {
        var pace = new SpeculationPace(first: 5, adapts: true, proposalCost: 0);
        var wanted = new List<int> { pace.Wanted };
        foreach (int accepted in new[] { 5, 7, 3, 2, 7, 9 })
        {
            pace.Report(pace.Wanted, accepted);
            wanted.Add(pace.Wanted);
        }

        Assert.Equal([5, 7, 9, 8, 7, 9, 11], wanted);
        for (int i = 0; i < 40; i++)
        {
            pace.Report(pace.Wanted, pace.Wanted);
        }

        Assert.Equal(SpeculationPace.MostProposals, pace.Wanted);
    }

    [Fact]
    public void It_rests_while_it_does_not_pay_and_longer_each_time()
    {
        var pace = new SpeculationPace(first: 10, adapts: false, proposalCost: 0);
        var rests = new List<int>();
        for (int i = 0; i < 5; i++)
        {
            while (pace.Wanted > 0)
            {
                pace.Report(10, 0);
            }

            rests.Add(0);
            while (pace.Wanted == 0)
            {
                pace.Report(0, 0);
                rests[^1]++;
            }
        }

        Assert.Equal([16, 32, 64, 128, 256], rests);
        foreach (int accepted in new[] { 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })
        {
            pace.Report(pace.Wanted, pace.Wanted == 0 ? 0 : accepted);
        }

        int rest = 0;
        for (; pace.Wanted == 0; rest++)
        {
            pace.Report(0, 0);
        }

        Assert.InRange(rest, 1, 16); // success made it short again
    }

    [Fact]
    public void A_costly_draft_must_be_right_more_often()
    {
        bool Pays(double cost, int accepted)
        {
            var pace = new SpeculationPace(first: 4, adapts: false, proposalCost: cost);
            for (int i = 0; i < 20 && pace.Wanted > 0; i++)
            {
                pace.Report(pace.Wanted, accepted);
            }

            return pace.Wanted > 0;
        }

        Assert.True(Pays(0.1, 2)); // 3 tokens for 1 + 4 · (0.1 + the row)
        Assert.False(Pays(0.6, 2)); // 3 tokens for more than 3.4
        Assert.True(Pays(0.6, 4));
        Assert.False(Pays(0, 0));
    }

    [Fact]
    public void Passes_without_proposals_say_nothing()
    {
        var pace = new SpeculationPace(first: 10, adapts: false, proposalCost: 0);
        for (int i = 0; i < 100; i++)
        {
            pace.Report(0, 0);
        }

        Assert.Equal(10, pace.Wanted);
    }
}
