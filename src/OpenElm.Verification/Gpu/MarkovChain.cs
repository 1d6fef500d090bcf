using OpenElm.Data;

namespace OpenElm.Verification.Gpu;

/// <summary>Text that a small model learns in some hundred updates: each token is followed by one of a few others.</summary>
internal sealed class MarkovChain
{
    const int Successors = 4;

    readonly int[] _next;
    readonly int _vocab;

    /// <param name="vocab">Tokens.</param>
    /// <param name="seed">Of the successors.</param>
    public MarkovChain(int vocab, int seed)
    {
        var random = new Random(seed);
        _vocab = vocab;
        _next = [.. Enumerable.Range(0, vocab * Successors).Select(_ => random.Next(vocab))];
    }

    /// <summary>Walks along the chain.</summary>
    /// <param name="sequences">Sequences.</param>
    /// <param name="length">Tokens of a sequence.</param>
    /// <param name="number">The batch's number, and the seed of the walk.</param>
    public TokenBatch Batch(int sequences, int length, int number)
    {
        var random = new Random(number);
        var batch = new TokenBatch(new int[sequences * length], new int[sequences * length], sequences, length, number, "a Markov chain");
        for (int row = 0; row < sequences; row++)
        {
            int token = random.Next(_vocab);
            for (int i = 0; i < length; i++)
            {
                batch.Inputs[(row * length) + i] = token;
                token = _next[(token * Successors) + random.Next(Successors)];
                batch.Targets[(row * length) + i] = token;
            }
        }

        return batch;
    }
}
