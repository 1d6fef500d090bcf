using OpenElm.Inference.Threading;

namespace OpenElm.Inference.Tests;

public sealed class ThreadTeamTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Every_part_runs_once_per_job(int parts)
    {
        using var team = new ThreadTeam(parts);
        var job = new Count(parts);
        for (int i = 0; i < 300; i++)
        {
            team.Run(job, split: true);
        }

        Assert.All(job.Runs, runs => Assert.Equal(300, runs));
        team.Run(job, split: false);
        Assert.Equal(301, job.Runs[0]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_failure_in_any_part_reaches_the_caller_and_the_team_goes_on(int failing)
    {
        using var team = new ThreadTeam(2);
        var job = new Count(2) { Failing = failing };
        Assert.ThrowsAny<InvalidOperationException>(() => team.Run(job, split: true));
        job.Failing = -1;
        team.Run(job, split: true);
        Assert.Equal(1, job.Runs[failing]);
    }

    [Theory]
    [InlineData(1, 4)]
    [InlineData(63, 4)]
    [InlineData(352, 4)]
    [InlineData(2000, 1)]
    public void Claimed_shares_cover_a_step_once(int total, int least)
    {
        const int Parts = 4;
        var shares = new ClaimedShares(3);
        for (int round = 0; round < 50; round++)
        {
            int[] claims = new int[total];
            shares.Reset();
            Parallel.For(0, Parts, _ =>
            {
                while (shares.TryClaim(1, total, least, Parts, out int first, out int end))
                {
                    Assert.Equal(0, first % least);
                    for (int i = first; i < end; i++)
                    {
                        Interlocked.Increment(ref claims[i]);
                    }
                }
            });
            Assert.All(claims, claim => Assert.Equal(1, claim));
            Assert.Equal([0, 1], new[] { shares.ClaimOne(2), shares.ClaimOne(2) }); // steps do not disturb each other
        }
    }

    [Fact]
    public void Two_callers_take_turns()
    {
        using var team = new ThreadTeam(2);
        Count[] jobs = [new Count(2), new Count(2), new Count(2)];
        Parallel.ForEach(jobs, job =>
        {
            for (int i = 0; i < 200; i++)
            {
                team.Run(job, split: true);
            }
        });
        Assert.All(jobs, job => Assert.All(job.Runs, runs => Assert.Equal(200, runs)));
    }

    [Fact]
    public void A_disposed_team_says_so()
    {
        var team = new ThreadTeam(2);
        team.Dispose();
        team.Dispose();
        Assert.Throws<ObjectDisposedException>(() => team.Run(new Count(2), split: true));
    }

    sealed class Count(int parts) : SplitJob
    {
        public int[] Runs { get; } = new int[parts];

        public int Failing { get; set; } = -1;

        public override void Run(int part, int parts, SpinBarrier barrier)
        {
            if (part == Failing)
            {
                throw new InvalidOperationException("on purpose");
            }

            Runs[part]++;
        }
    }
}
