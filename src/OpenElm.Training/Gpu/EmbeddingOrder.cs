namespace OpenElm.Training.Gpu;

/// <summary>Tokens of a batch by their id, so that each row of the embedding's gradient is one sum in a fixed order.</summary>
internal sealed class EmbeddingOrder
{
    readonly int[] _counts;

    /// <param name="vocab">Ids.</param>
    /// <param name="tokens">Tokens of a batch.</param>
    public EmbeddingOrder(int vocab, int tokens)
    {
        _counts = new int[vocab];
        (Order, Starts, Ids) = (new int[tokens], new int[tokens + 1], new int[tokens]);
    }

    /// <summary>Tokens, the smallest id first.</summary>
    public int[] Order { get; }

    /// <summary>Where in <see cref="Order"/> each id's tokens begin; behind the last id, where they end.</summary>
    public int[] Starts { get; }

    /// <summary>The ids that occur.</summary>
    public int[] Ids { get; }

    /// <summary>How many of them.</summary>
    public int Distinct { get; private set; }

    /// <summary>Sorts a batch.</summary>
    /// <param name="inputs">Ids.</param>
    /// <param name="paddingId">The id whose look-ups send no gradient back.</param>
    public void Sort(ReadOnlySpan<int> inputs, int? paddingId)
    {
        Array.Clear(_counts);
        foreach (int id in inputs)
        {
            _counts[id]++;
        }

        if (paddingId is { } padding)
        {
            _counts[padding] = 0;
        }

        (Distinct, int begin) = (0, 0);
        for (int id = 0; id < _counts.Length; id++)
        {
            if (_counts[id] > 0)
            {
                (Ids[Distinct], Starts[Distinct]) = (id, begin);
                Distinct++;
                begin += _counts[id];
                _counts[id] = begin - _counts[id]; // from here on, the next free place
            }
        }

        Starts[Distinct] = begin;
        for (int token = 0; token < inputs.Length; token++)
        {
            if (inputs[token] != paddingId)
            {
                Order[_counts[inputs[token]]++] = token;
            }
        }
    }
}
