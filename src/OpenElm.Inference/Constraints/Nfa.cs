namespace OpenElm.Inference.Constraints;

/// <summary>A step of the automaton: from a state, over a byte of a range, to another.</summary>
/// <param name="Bytes">The bytes.</param>
/// <param name="To">The state.</param>
internal readonly record struct NfaEdge(ByteRange Bytes, int To);

/// <summary>
/// A nondeterministic automaton over bytes. From every state that an edge leads to the accepting state can be reached, so a
/// walk never runs into a dead end. Immutable.
/// </summary>
internal sealed class Nfa
{
    readonly NfaEdge[][] _edges;
    readonly int[][] _silent;

    Nfa(NfaEdge[][] edges, int[][] silent, int accepting)
    {
        (_edges, _silent, Accepting) = (edges, silent, accepting);
        int[] starts = [.. edges.SelectMany(from => from).SelectMany(edge => new[] { edge.Bytes.First, edge.Bytes.Last + 1 }).Where(at => at is > 0 and < 256).Distinct().Order()];
        for (int value = 0, next = 0; value < 256; value++)
        {
            next += next < starts.Length && starts[next] == value ? 1 : 0;
            ByteClass[value] = (byte)next;
        }
    }

    /// <summary>The state in which a text may end.</summary>
    public int Accepting { get; }

    /// <summary>[256]: bytes of one class lead to the same states everywhere.</summary>
    public byte[] ByteClass { get; } = new byte[256];

    /// <summary>How many states there are.</summary>
    public int Count => _edges.Length;

    /// <summary>Steps over bytes.</summary>
    /// <param name="state">The state.</param>
    /// <returns>Where they lead.</returns>
    public ReadOnlySpan<NfaEdge> Edges(int state) => _edges[state];

    /// <summary>Steps without a byte.</summary>
    /// <param name="state">The state.</param>
    /// <returns>Where they lead.</returns>
    public ReadOnlySpan<int> Silent(int state) => _silent[state];

    /// <summary>Makes an automaton; state 0 begins, and 1 accepts.</summary>
    /// <param name="edges">Steps over bytes of each state.</param>
    /// <param name="silent">Steps without a byte of each state.</param>
    /// <returns>The automaton.</returns>
    /// <exception cref="OpenElmException">No text is accepted.</exception>
    public static Nfa Of(IReadOnlyList<List<NfaEdge>> edges, IReadOnlyList<List<int>> silent)
    {
        bool[] alive = Alive(edges, silent);
        return alive[0]
            ? new Nfa([.. edges.Select(from => from.Where(edge => alive[edge.To]).ToArray())], [.. silent.Select(from => from.Where(to => alive[to]).ToArray())], accepting: 1)
            : throw new OpenElmException("The constraint matches no text at all; allow something.");
    }

    // States from which the accepting state can be reached, found backwards.
    static bool[] Alive(IReadOnlyList<List<NfaEdge>> edges, IReadOnlyList<List<int>> silent)
    {
        var before = new List<int>[edges.Count];
        for (int state = 0; state < before.Length; state++)
        {
            foreach (int to in edges[state].Select(edge => edge.To).Concat(silent[state]))
            {
                (before[to] ??= []).Add(state);
            }
        }

        bool[] alive = new bool[before.Length];
        alive[1] = true;
        var left = new Stack<int>([1]);
        while (left.TryPop(out int state))
        {
            foreach (int from in before[state] ?? [])
            {
                if (!alive[from])
                {
                    alive[from] = true;
                    left.Push(from);
                }
            }
        }

        return alive;
    }
}
