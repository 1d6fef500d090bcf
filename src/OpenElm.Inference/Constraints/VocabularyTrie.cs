using OpenElm.Tokenization;

namespace OpenElm.Inference.Constraints;

/// <summary>
/// The bytes of all pieces as a tree in one array, in depth-first order: a walk that cannot go on at a node leaps over the
/// node's whole branch. Control and unknown pieces are not in it.
/// </summary>
internal sealed class VocabularyTrie
{
    readonly Node[] _nodes;
    readonly int[] _nextWithSameBytes;
    readonly int _deepest;

    VocabularyTrie(List<(byte[] Bytes, int Id)> pieces, int count)
    {
        Count = count;
        _nextWithSameBytes = new int[count];
        pieces.Sort((a, b) => a.Bytes.AsSpan().SequenceCompareTo(b.Bytes) is var order && order != 0 ? order : a.Id.CompareTo(b.Id));
        var nodes = new List<Node>();
        var path = new Stack<int>(); // indices of the nodes on the way to the present one
        byte[] before = [];
        foreach ((byte[] bytes, int id) in pieces)
        {
            int shared = bytes.AsSpan().CommonPrefixLength(before);
            Close(shared);
            for (int depth = shared; depth < bytes.Length; depth++)
            {
                path.Push(nodes.Count);
                nodes.Add(new Node { Byte = bytes[depth], Depth = depth, Token = -1 });
            }

            Node last = nodes[path.Peek()];
            _nextWithSameBytes[id] = last.Token;
            nodes[path.Peek()] = last with { Token = id };
            before = bytes;
        }

        Close(0);
        _nodes = [.. nodes];
        _deepest = nodes.Count == 0 ? 0 : nodes.Max(node => node.Depth) + 1;

        void Close(int depth)
        {
            while (path.Count > depth)
            {
                int index = path.Pop();
                nodes[index] = nodes[index] with { End = nodes.Count };
            }
        }
    }

    /// <summary>Ids are below this.</summary>
    public int Count { get; }

    /// <summary>Builds the tree of a vocabulary.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="count">Ids below this count.</param>
    /// <param name="atStart">Whether a blank that begins a piece is dropped, as at the start of a text.</param>
    /// <returns>The tree.</returns>
    /// <exception cref="OpenElmException">The vocabulary cannot write every byte.</exception>
    public static VocabularyTrie Of(SentencePieceTokenizer tokenizer, int count, bool atStart)
    {
        var pieces = new List<(byte[] Bytes, int Id)>();
        var single = new HashSet<byte>();
        for (int id = 0; id < count; id++)
        {
            byte[] bytes = tokenizer.SurfaceOf(id);
            if (bytes is [byte value] && tokenizer.PieceOf(id).Length > 1)
            {
                single.Add(value); // a byte piece, <0x41>: it is never shortened
            }
            else if (atStart && tokenizer.DropsFirstBlank && bytes is [(byte)' ', ..])
            {
                bytes = bytes[1..];
            }

            if (bytes.Length > 0)
            {
                pieces.Add((bytes, id));
            }
        }

        return single.Count == 256
            ? new VocabularyTrie(pieces, count)
            : throw new OpenElmException($"A constraint needs a tokenizer with byte fallback, so that every character can be written; this one has {single.Count} of the 256 byte pieces.");
    }

    /// <summary>Marks the tokens that a state allows.</summary>
    /// <param name="automaton">The automaton.</param>
    /// <param name="state">The state.</param>
    /// <param name="mask">[⌈count / 64⌉]; bits are set.</param>
    public void Mark(Automaton automaton, AutomatonState state, Span<ulong> mask)
    {
        var states = new AutomatonState[_deepest + 1]; // by depth
        states[0] = state;
        for (int i = 0; i < _nodes.Length;)
        {
            ref readonly Node node = ref _nodes[i];
            if (!automaton.TryStep(states[node.Depth], node.Byte, out AutomatonState? next))
            {
                i = node.End;
                continue;
            }

            states[node.Depth + 1] = next;
            for (int token = node.Token; token >= 0; token = _nextWithSameBytes[token])
            {
                mask[token >> 6] |= 1UL << (token & 63);
            }

            i++;
        }
    }

    readonly record struct Node
    {
        public required byte Byte { get; init; }

        public required int Depth { get; init; }

        /// <summary>The largest id with exactly the bytes up to here, or −1.</summary>
        public required int Token { get; init; }

        /// <summary>The node behind this branch.</summary>
        public int End { get; init; }
    }
}
