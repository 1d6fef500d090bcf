using OpenElm.Tokenization;

namespace OpenElm.Inference.Constraints;

/// <summary>
/// A constraint over one vocabulary: which tokens may follow in each state, computed when first needed and kept. Any number
/// of threads may use it.
/// </summary>
internal sealed class TokenMasks
{
    readonly Lock _gate = new();
    readonly Automaton _automaton;
    readonly VocabularyTrie _inside;
    readonly VocabularyTrie _atStart;
    readonly byte[][] _surfaces;
    readonly bool _dropsFirstBlank;
    readonly int _eos;

    /// <summary>Prepares a constraint for a vocabulary.</summary>
    /// <param name="nfa">The constraint.</param>
    /// <param name="vocabulary">The vocabulary.</param>
    public TokenMasks(Nfa nfa, ConstrainedVocabulary vocabulary)
    {
        _automaton = new Automaton(nfa);
        (_inside, _atStart, _surfaces, _dropsFirstBlank, _eos) = (vocabulary.Inside, vocabulary.AtStart, vocabulary.Surfaces, vocabulary.DropsFirstBlank, vocabulary.Eos);
    }

    /// <summary>Where every output begins.</summary>
    public AutomatonState Start
    {
        get
        {
            lock (_gate)
            {
                return _automaton.Start;
            }
        }
    }

    /// <summary>The tokens that may follow; the end of a sequence where the output may end.</summary>
    /// <param name="state">The state.</param>
    /// <param name="atStart">Whether no text came before, so that the first blank is dropped.</param>
    /// <returns>A bit for each id.</returns>
    public ReadOnlySpan<ulong> Mask(AutomatonState state, bool atStart)
    {
        lock (_gate)
        {
            return atStart ? state.MaskAtStart ??= Create(state, _atStart) : state.Mask ??= Create(state, _inside);
        }
    }

    /// <summary>Takes a token.</summary>
    /// <param name="state">The state.</param>
    /// <param name="token">The id; its mask allows it.</param>
    /// <param name="atStart">Whether no text came before.</param>
    /// <returns>The next state.</returns>
    public AutomatonState Step(AutomatonState state, int token, bool atStart)
    {
        lock (_gate)
        {
            state = _automaton.Current(state);
            ReadOnlySpan<byte> bytes = _surfaces[token];
            foreach (byte value in atStart && _dropsFirstBlank && bytes.Length > 1 && bytes[0] == ' ' ? bytes[1..] : bytes)
            {
                state = _automaton.TryStep(state, value, out AutomatonState? next) ? next
                    : throw new InvalidOperationException($"The token {token} is not allowed here.");
            }

            return state;
        }
    }

    ulong[] Create(AutomatonState state, VocabularyTrie trie)
    {
        ulong[] mask = new ulong[(trie.Count + 63) / 64];
        trie.Mark(_automaton, state, mask);
        if (state.IsAccepting)
        {
            mask[_eos >> 6] |= 1UL << (_eos & 63);
        }

        return mask;
    }
}

/// <summary>What every constraint needs of a model's vocabulary.</summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="candidates">Ids below this count.</param>
/// <param name="eos">The id that ends a sequence.</param>
internal sealed class ConstrainedVocabulary(SentencePieceTokenizer tokenizer, int candidates, int eos)
{
    /// <summary>The bytes of each id.</summary>
    public byte[][] Surfaces { get; } = [.. Enumerable.Range(0, candidates).Select(tokenizer.SurfaceOf)];

    /// <summary>Pieces inside a text.</summary>
    public VocabularyTrie Inside { get; } = VocabularyTrie.Of(tokenizer, candidates, atStart: false);

    /// <summary>Pieces at the start of a text.</summary>
    public VocabularyTrie AtStart { get; } = VocabularyTrie.Of(tokenizer, candidates, atStart: true);

    /// <summary>Whether a blank that begins the first piece is dropped.</summary>
    public bool DropsFirstBlank { get; } = tokenizer.DropsFirstBlank;

    /// <summary>The id that ends a sequence.</summary>
    public int Eos { get; } = eos;
}
