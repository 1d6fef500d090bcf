using OpenElm.Inference.Sampling;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Generation;

/// <summary>One output: enumerate it once, as tokens or as text, then read how it went.</summary>
public sealed class GenerationRun
{
    readonly TextModel _model;
    readonly GenerationOptions _options;
    readonly TimeProvider _time;
    readonly int[] _sequence;
    readonly int _promptLength;
    int _length;
    TimeSpan _toFirst, _total;

    internal GenerationRun(TextModel model, int[] prompt, GenerationOptions options, TimeProvider time)
    {
        (_model, _options, _time) = (model, options, time);
        _sequence = new int[(int)Math.Min(model.Model.MaxLength + 1L, (long)prompt.Length + options.MaxTokens)];
        prompt.CopyTo(_sequence, 0);
        _promptLength = _length = prompt.Length;
    }

    /// <summary>The prompt.</summary>
    public ReadOnlyMemory<int> Prompt => _sequence.AsMemory(0, _promptLength);

    /// <summary>What was generated so far.</summary>
    public ReadOnlyMemory<int> Output => _sequence.AsMemory(_promptLength, _length - _promptLength);

    /// <summary>Why it ended.</summary>
    public FinishReason FinishReason { get; private set; }

    /// <summary>How fast it was.</summary>
    public GenerationRates Rates => new(_promptLength, _length - _promptLength, _toFirst, _total);

    /// <summary>Generates token ids; the id that ends a sequence is not among them. Allocates nothing per token.</summary>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Ids as they come.</returns>
    public IEnumerable<int> Tokens(CancellationToken cancellation = default)
    {
        if (_length > _promptLength || FinishReason != FinishReason.None)
        {
            throw new InvalidOperationException("A run is enumerated once.");
        }

        long start = _time.GetTimestamp();
        ISampler sampler = _options.Sampling.CreateSampler();
        int eos = _model.Tokenizer?.EosId ?? _model.Model.Config.EosTokenId;
        float[] logits = new float[_model.Model.Config.VocabSize];
        using SequenceState state = _model.Model.CreateState(Math.Min(_sequence.Length, _model.Model.MaxLength));
        _model.Model.Prefill(Prompt.Span, state, logits);
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            int token = sampler.Sample(_sequence.AsSpan(0, _length), logits.AsSpan(0, _model.Candidates)); // rows that only pad are no candidates
            if (float.IsNaN(logits[token]))
            {
                throw new OpenElmException($"The model gave logits that are no numbers after {_length} tokens; {_model.Model.CauseOfOverflow}.");
            }

            _total = _time.GetElapsedTime(start);
            _toFirst = _length == _promptLength ? _total : _toFirst;
            if (token == eos && !_options.IgnoreEos)
            {
                FinishReason = FinishReason.EndOfSequence;
                yield break;
            }

            _sequence[_length++] = token;
            yield return token;
            if (_length == _sequence.Length)
            {
                FinishReason = _length - _promptLength == _options.MaxTokens ? FinishReason.MaxTokens : FinishReason.LengthLimit;
                yield break;
            }

            _model.Model.Decode(token, state, logits);
        }
    }

    /// <summary>Generates text, in parts that never break a character and never hold a beginning of a stop text.</summary>
    /// <param name="cancellation">Stops between two tokens.</param>
    /// <returns>Parts as they come; together they are the output.</returns>
    /// <exception cref="OpenElmException">The model has no tokenizer.</exception>
    public IEnumerable<string> Text(CancellationToken cancellation = default)
    {
        StreamingDecoder decoder = _model.RequireTokenizer("Generating text").CreateDecoder();
        foreach (int id in Prompt.Span)
        {
            if (id < _model.Candidates)
            {
                decoder.Append(id); // so that the output keeps the blank that separates it from the prompt
            }
        }

        return Parts();

        IEnumerable<string> Parts()
        {
            var filter = new StopTextFilter(_options.Stop);
            foreach (int token in Tokens(cancellation))
            {
                if (filter.Append(decoder.Append(token)) is { Length: > 0 } part)
                {
                    yield return part;
                }

                if (filter.Stopped)
                {
                    FinishReason = FinishReason.StopText;
                    yield break;
                }
            }

            string end = filter.Append(decoder.Flush());
            if (end + filter.Flush() is { Length: > 0 } rest)
            {
                yield return rest;
            }
        }
    }
}
