namespace OpenElm.Inference.Generation.Speculation;

/// <summary>
/// How many tokens are proposed next. A draft model proposes two more after a pass that accepted all, else one less, at
/// least one (transformers' rule). Where the passes of late gave fewer tokens than they cost, nothing is proposed for a
/// while, and twice as long each time that this repeats. Decided by counts and not by the clock, so that runs repeat.
/// </summary>
internal sealed class SpeculationPace
{
    /// <summary>The most tokens that one pass verifies.</summary>
    public const int MostProposals = 32;

    // One more row in a pass, in passes of one row: weights are read once, only the arithmetic grows.
    const double RowCost = 0.15;

    // Late passes count more: each weighs this much less than the next. A verdict needs a few.
    const double Memory = 0.9;
    const int PassesBeforeVerdict = 4;
    const int ShortestPause = 16, LongestPause = 512;

    readonly int _first;
    readonly bool _adapts;
    readonly double _cost;
    int _wanted, _passes, _pause = ShortestPause, _resting;
    double _tokens, _spent;

    /// <summary>Begins a run.</summary>
    /// <param name="first">Proposals of the first pass.</param>
    /// <param name="adapts">Whether their number follows what was accepted.</param>
    /// <param name="proposalCost">What the proposer spends on one, in passes of one row.</param>
    public SpeculationPace(int first, bool adapts, double proposalCost) =>
        (_first, _wanted, _adapts, _cost) = (first, first, adapts, RowCost + proposalCost);

    /// <summary>Proposals wanted for the next pass; 0 while it rests.</summary>
    public int Wanted => _resting > 0 ? 0 : _wanted;

    /// <summary>Takes note of a pass.</summary>
    /// <param name="proposed">Tokens proposed.</param>
    /// <param name="accepted">Tokens accepted.</param>
    public void Report(int proposed, int accepted)
    {
        if (_resting > 0)
        {
            _resting--;
            return;
        }

        if (proposed == 0)
        {
            return; // nothing was spent
        }

        if (_adapts)
        {
            _wanted = accepted == _wanted ? Math.Min(_wanted + 2, MostProposals) : Math.Max(_wanted - 1, 1);
        }

        _tokens = (Memory * _tokens) + accepted + 1;
        _spent = (Memory * _spent) + 1 + (_cost * proposed);
        if (++_passes < PassesBeforeVerdict)
        {
            return;
        }

        if (_tokens >= _spent)
        {
            _pause = ShortestPause;
            return;
        }

        (_resting, _pause) = (_pause, Math.Min(2 * _pause, LongestPause));
        (_wanted, _passes, _tokens, _spent) = (_first, 0, 0, 0);
    }
}
