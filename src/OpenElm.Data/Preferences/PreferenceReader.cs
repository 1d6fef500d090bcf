using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;
using OpenElm.Tokenization;

namespace OpenElm.Data.Preferences;

/// <summary>Turns records into pairs: layout, template, filter, tokens.</summary>
/// <param name="config">How.</param>
/// <param name="tokenizer">Turns texts into tokens.</param>
/// <param name="template">Turns conversations into texts.</param>
internal sealed class PreferenceReader(PreferenceConfig config, SentencePieceTokenizer tokenizer, ChatTemplate template)
{
    readonly PairTokenizer _tokenizer = new(config.MaxLength, config.MaxPromptLength, tokenizer);

    /// <summary>Reads files.</summary>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="OpenElmException">A file or record is wrong; the message names both.</exception>
    public PreferenceSet Read(string baseDirectory, CancellationToken cancel)
    {
        HumanEvalFilter? filter = config.ContaminationFiles is [] ? null : HumanEvalFilter.Read(config.ContaminationFiles, baseDirectory);
        var pairs = ImmutableArray.CreateBuilder<PreferencePair>();
        var counts = new PreferenceStatistics(0, 0, 0, 0, 0, 0);
        foreach (DataRow row in RowReader.Read(config.Files, baseDirectory, config.MaxRecords))
        {
            cancel.ThrowIfCancellationRequested();
            counts = counts with { Records = counts.Records + 1 };
            PreferenceText text;
            TokenizedPair tokens;
            try
            {
                (text, tokens) = Tokenize(row);
            }
            catch (OpenElmException) when (config.OnBadRecord == BadRecordPolicy.Skip)
            {
                counts = counts with { Bad = counts.Bad + 1 };
                continue;
            }

            if (filter?.IsIn(text.Chosen) == true)
            {
                counts = counts with { Contaminated = counts.Contaminated + 1 };
            }
            else if (tokens.Pair.Chosen.SequenceEqual(tokens.Pair.Rejected))
            {
                counts = config.OnEqualPair == EqualPairPolicy.Skip ? counts with { Equal = counts.Equal + 1 } : throw EqualPair(row, text);
            }
            else
            {
                counts = counts with
                {
                    TruncatedPrompts = counts.TruncatedPrompts + (tokens.PromptIsCut ? 1 : 0),
                    TruncatedResponses = counts.TruncatedResponses + (tokens.ResponseIsCut ? 1 : 0),
                };
                pairs.Add(tokens.Pair);
            }
        }

        return pairs.Count > 0
            ? new PreferenceSet(pairs.ToImmutable(), counts)
            : throw new OpenElmException($"No pair is left of the {counts.Records} records of {string.Join(", ", config.Files)}: {counts.Bad} are bad, {counts.Equal} have equal responses, {counts.Contaminated} are contaminated.");
    }

    (PreferenceText Text, TokenizedPair Tokens) Tokenize(DataRow row)
    {
        try
        {
            var text = PreferenceText.Of(PreferenceRecord.Of(row, config.Layout), template, tokenizer);
            return (text, _tokenizer.Tokenize(text, $"{row.File} row {row.Number}"));
        }
        catch (OpenElmException wrong) when (!wrong.Message.StartsWith(row.File, StringComparison.Ordinal))
        {
            throw row.Wrong($"cannot become a pair: {wrong.Message}", wrong);
        }
    }

    static OpenElmException EqualPair(DataRow row, PreferenceText text) => row.Wrong(
        (text.Chosen == text.Rejected ? "has equal responses in 'chosen' and 'rejected'" : "has responses in 'chosen' and 'rejected' that are equal as far as they are kept")
        + ", so there is nothing to learn; set data.on_equal_pair to skip.");
}
