namespace OpenElm.Inference.Constraints;

/// <summary>Thompson's construction: a pattern becomes paths between two states.</summary>
internal sealed class NfaBuilder
{
    const int MostStates = 400_000;

    static readonly ByteRange Continuation = new(0x80, 0xBF);

    readonly List<List<NfaEdge>> _edges = [];
    readonly List<List<int>> _silent = [];
    readonly Dictionary<CodePoints, ByteRange[][]> _sequences = []; // a repetition asks for the same set again and again

    NfaBuilder()
    {
    }

    /// <summary>Translates a pattern.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <returns>The automaton of exactly its texts.</returns>
    /// <exception cref="OpenElmException">It is too large, or matches nothing.</exception>
    public static Nfa Build(Pattern pattern)
    {
        var builder = new NfaBuilder();
        builder.Add(pattern, builder.NewState(), builder.NewState());
        return Nfa.Of(builder._edges, builder._silent);
    }

    int NewState()
    {
        if (_edges.Count == MostStates)
        {
            throw new OpenElmException($"The constraint is too large: it needs more than {MostStates} states. Lower the counts of its repetitions.");
        }

        _edges.Add([]);
        _silent.Add([]);
        return _edges.Count - 1;
    }

    void Add(Pattern pattern, int from, int to)
    {
        switch (pattern)
        {
            case Pattern.Characters characters:
                AddCharacters(characters.Set, from, to);
                break;
            case Pattern.Sequence { Parts: [] }:
                _silent[from].Add(to);
                break;
            case Pattern.Sequence sequence:
                for (int i = 0; i < sequence.Parts.Length; i++)
                {
                    int next = i == sequence.Parts.Length - 1 ? to : NewState();
                    Add(sequence.Parts[i], from, next);
                    from = next;
                }

                break;
            case Pattern.Alternatives alternatives:
                foreach (Pattern choice in alternatives.Choices)
                {
                    Add(choice, from, to);
                }

                break;
            case Pattern.Repeat repeat:
                AddRepeat(repeat, from, to);
                break;
            case Pattern.SeparatedList list:
                AddList(list, from, to);
                break;
            default:
                throw new InvalidOperationException($"There is no pattern {pattern}.");
        }
    }

    void AddCharacters(CodePoints set, int from, int to)
    {
        // Most sequences end with any continuation bytes; they share the states of these.
        int[] tails = [to, -1, -1, -1];
        if (!_sequences.TryGetValue(set, out ByteRange[][]? sequences))
        {
            _sequences.Add(set, sequences = [.. set.Ranges.SelectMany(range => Utf8Ranges.Of(range.First, range.Last))]);
        }

        foreach (ByteRange[] bytes in sequences)
        {
            int state = from;
            for (int i = 0; i < bytes.Length; i++)
            {
                int left = bytes.Length - 1 - i;
                int next = bytes.AsSpan(i + 1).ContainsAnyExcept(Continuation) ? NewState() : Tail(left);
                _edges[state].Add(new NfaEdge(bytes[i], next));
                if (next == tails[left])
                {
                    break; // its own steps exist
                }

                state = next;
            }
        }

        int Tail(int left)
        {
            if (tails[left] < 0)
            {
                tails[left] = NewState();
                _edges[tails[left]].Add(new NfaEdge(Continuation, Tail(left - 1)));
            }

            return tails[left];
        }
    }

    void AddRepeat(Pattern.Repeat repeat, int from, int to)
    {
        for (int i = 0; i < repeat.Least; i++)
        {
            int next = NewState();
            Add(repeat.Body, from, next);
            from = next;
        }

        if (repeat.Most is int most)
        {
            for (int i = repeat.Least; i < most; i++)
            {
                int next = NewState();
                _silent[from].Add(to);
                Add(repeat.Body, from, next);
                from = next;
            }

            _silent[from].Add(to);
            return;
        }

        // A state of its own, so that the loop cannot be entered from elsewhere.
        int loop = NewState(), end = NewState();
        _silent[from].Add(loop);
        Add(repeat.Body, loop, end);
        _silent[end].Add(loop);
        _silent[loop].Add(to);
    }

    // Two states before each item: nothing is there yet, or something is and a separator is due. The item itself exists once.
    void AddList(Pattern.SeparatedList list, int from, int to)
    {
        int nothing = from, something = -1;
        foreach ((Pattern item, bool required) in list.Items)
        {
            int start = NewState(), end = NewState(), nextNothing = -1;
            if (nothing >= 0)
            {
                _silent[nothing].Add(start);
                if (!required)
                {
                    _silent[nothing].Add(nextNothing = NewState());
                }
            }

            if (something >= 0)
            {
                Add(list.Separator, something, start);
                if (!required)
                {
                    _silent[something].Add(end);
                }
            }

            Add(item, start, end);
            (nothing, something) = (nextNothing, end);
        }

        if (nothing >= 0)
        {
            _silent[nothing].Add(to);
        }

        if (something >= 0)
        {
            _silent[something].Add(to);
        }
    }
}
