using System.Runtime.InteropServices;
using OpenElm.Data;

namespace OpenElm.Training;

/// <summary>
/// The yardstick of a small run: a bigram model with absolute discounting, backed by unigrams with one added to every
/// count (Ney, Essen and Kneser 1994). A language model that has learned anything predicts held-out text better.
/// </summary>
public sealed class BigramModel
{
    const double Discount = 0.75; // the usual value; the second decimal of the loss does not depend on it

    readonly int _vocab;
    readonly Dictionary<long, int> _pairs = [];
    readonly int[] _unigrams;
    readonly int[] _contexts;
    readonly int[] _distinctFollowers;
    long _tokens;

    /// <summary>Creates a model that has seen nothing.</summary>
    /// <param name="vocab">The number of token ids.</param>
    public BigramModel(int vocab)
    {
        _vocab = vocab;
        _unigrams = new int[vocab];
        _contexts = new int[vocab];
        _distinctFollowers = new int[vocab];
    }

    /// <summary>Pairs seen so far.</summary>
    public long Tokens => _tokens;

    /// <summary>Counts the pairs of a batch.</summary>
    /// <param name="batch">Inputs and the token after each.</param>
    /// <param name="ignore">The target id that does not count.</param>
    public void Learn(TokenBatch batch, int ignore)
    {
        ArgumentNullException.ThrowIfNull(batch);
        for (int i = 0; i < batch.Inputs.Length; i++)
        {
            (int token, int next) = (batch.Inputs[i], batch.Targets[i]);
            if (next == ignore)
            {
                continue;
            }

            ref int count = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairs, Pair(token, next), out bool seen);
            count++;
            _distinctFollowers[token] += seen ? 0 : 1;
            _contexts[token]++;
            _unigrams[next]++;
            _tokens++;
        }
    }

    /// <summary>The natural logarithm of the probability that one token follows another.</summary>
    /// <param name="token">The token before.</param>
    /// <param name="next">The token after.</param>
    /// <returns>A finite, negative number.</returns>
    public double LogProbability(int token, int next)
    {
        double unigram = (_unigrams[next] + 1.0) / (_tokens + _vocab);
        if (_contexts[token] == 0)
        {
            return Math.Log(unigram);
        }

        double seen = Math.Max(_pairs.GetValueOrDefault(Pair(token, next)) - Discount, 0);
        double leftOver = Discount * _distinctFollowers[token];
        return Math.Log((seen + (leftOver * unigram)) / _contexts[token]);
    }

    /// <summary>Mean cross entropy of batches, in nats a token.</summary>
    /// <param name="batches">Inputs and targets.</param>
    /// <param name="ignore">The target id that does not count.</param>
    /// <returns>The loss.</returns>
    public double Loss(IEnumerable<TokenBatch> batches, int ignore)
    {
        double sum = 0;
        long count = 0;
        foreach (TokenBatch batch in batches)
        {
            for (int i = 0; i < batch.Inputs.Length; i++)
            {
                if (batch.Targets[i] != ignore)
                {
                    sum -= LogProbability(batch.Inputs[i], batch.Targets[i]);
                    count++;
                }
            }
        }

        return sum / count;
    }

    long Pair(int token, int next) => ((long)token * _vocab) + next;
}
