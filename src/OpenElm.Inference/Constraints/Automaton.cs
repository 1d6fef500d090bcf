using System.Diagnostics.CodeAnalysis;

namespace OpenElm.Inference.Constraints;

/// <summary>A state of the deterministic automaton: the states in which the nondeterministic one may be.</summary>
internal sealed class AutomatonState
{
    internal AutomatonState(int[] members, bool isAccepting, bool isFinal, int classes, int generation) =>
        (Members, IsAccepting, IsFinal, Next, Generation) = (members, isAccepting, isFinal, new AutomatonState?[classes], generation);

    /// <summary>Whether a text may end here.</summary>
    public bool IsAccepting { get; }

    /// <summary>Whether it must.</summary>
    public bool IsFinal { get; }

    /// <summary>Which tokens may follow, once it is known; a bit for each id.</summary>
    public ulong[]? Mask { get; set; }

    /// <summary>The same where a blank that begins the token would be dropped.</summary>
    public ulong[]? MaskAtStart { get; set; }

    internal int[] Members { get; }

    internal AutomatonState?[] Next { get; }

    internal int Generation { get; }
}

/// <summary>
/// The deterministic automaton over bytes, built as far as it is walked. Its states are forgotten when there are too many;
/// a state that is still held finds its successor all the same. Not for two threads at once.
/// </summary>
/// <param name="nfa">The nondeterministic automaton.</param>
/// <param name="mostStates">States that are kept.</param>
internal sealed class Automaton(Nfa nfa, int mostStates = 20_000)
{
    static readonly AutomatonState Dead = new([], false, false, 0, 0);

    readonly Dictionary<int[], AutomatonState> _states = new(MembersComparer.Instance);
    readonly int _classes = nfa.ByteClass.Max() + 1;
    readonly bool[] _seen = new bool[nfa.Count];
    readonly List<int> _members = [];
    readonly Stack<int> _open = new();
    AutomatonState? _start;
    int _generation;

    /// <summary>How many states are known.</summary>
    public int Count => _states.Count;

    /// <summary>Where every text begins.</summary>
    public AutomatonState Start => _start ??= From([0]);

    /// <summary>Takes one byte.</summary>
    /// <param name="state">The state.</param>
    /// <param name="value">The byte.</param>
    /// <param name="next">The next state.</param>
    /// <returns>Whether a text may go on so.</returns>
    public bool TryStep(AutomatonState state, byte value, [NotNullWhen(true)] out AutomatonState? next)
    {
        byte byteClass = nfa.ByteClass[value];
        next = state.Next[byteClass] ??= Step(state, value);
        if (next == Dead)
        {
            next = null;
        }

        return next is not null;
    }

    /// <summary>The state to go on with: the same, or its successor where states have been forgotten.</summary>
    /// <param name="state">A state that was held.</param>
    /// <returns>The state.</returns>
    public AutomatonState Current(AutomatonState state)
    {
        if (_states.Count > mostStates)
        {
            _states.Clear();
            _start = null;
            _generation++;
        }

        return state.Generation == _generation ? state : Known(state.Members);
    }

    AutomatonState Step(AutomatonState state, byte value)
    {
        foreach (int member in state.Members)
        {
            foreach (NfaEdge edge in nfa.Edges(member))
            {
                if (edge.Bytes.First <= value && value <= edge.Bytes.Last)
                {
                    Visit(edge.To);
                }
            }
        }

        return Collect() is { Length: > 0 } members ? Known(members) : Dead;
    }

    AutomatonState From(ReadOnlySpan<int> states)
    {
        foreach (int state in states)
        {
            Visit(state);
        }

        return Known(Collect());
    }

    void Visit(int state)
    {
        if (!_seen[state])
        {
            _seen[state] = true;
            _open.Push(state);
        }
    }

    // What silent steps reach, sorted; states that only have silent steps make no difference.
    int[] Collect()
    {
        var visited = new List<int>();
        while (_open.TryPop(out int state))
        {
            visited.Add(state);
            if (state == nfa.Accepting || !nfa.Edges(state).IsEmpty)
            {
                _members.Add(state);
            }

            foreach (int to in nfa.Silent(state))
            {
                Visit(to);
            }
        }

        visited.ForEach(state => _seen[state] = false);
        int[] members = [.. _members.Order()];
        _members.Clear();
        return members;
    }

    AutomatonState Known(int[] members)
    {
        if (!_states.TryGetValue(members, out AutomatonState? state))
        {
            bool accepting = members.AsSpan().Contains(nfa.Accepting);
            bool final = accepting && members.All(member => nfa.Edges(member).IsEmpty);
            state = new AutomatonState(members, accepting, final, _classes, _generation);
            _states.Add(members, state);
        }

        return state;
    }

    sealed class MembersComparer : IEqualityComparer<int[]>
    {
        public static MembersComparer Instance { get; } = new();

        public bool Equals(int[]? x, int[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(int[] members)
        {
            var hash = default(HashCode);
            hash.AddBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(members.AsSpan()));
            return hash.ToHashCode();
        }
    }
}
