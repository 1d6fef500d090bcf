using System.Collections.Immutable;
using OpenElm.Chat;
using OpenElm.Data.Rows;
using OpenElm.Tokenization;

namespace OpenElm.Data.Examples;

/// <summary>Turns records into examples: template, clean-up, tokens, limits.</summary>
/// <param name="config">How.</param>
/// <param name="tokenizer">Turns text into tokens.</param>
/// <param name="template">The chat template; null writes instructions by the template of openelm.md 8.3.</param>
/// <param name="sequenceLength">The longest sequence.</param>
internal sealed class ExampleReader(ExampleConfig config, SentencePieceTokenizer tokenizer, ChatTemplate? template, int sequenceLength)
{
    /// <summary>Reads files.</summary>
    /// <param name="baseDirectory">The folder that relative file names start from.</param>
    /// <param name="cancel">Ends the reading.</param>
    /// <exception cref="OpenElmException">A file or record is wrong; the message names both.</exception>
    public ExampleSet Read(string baseDirectory, CancellationToken cancel)
    {
        var examples = ImmutableArray.CreateBuilder<TokenizedExample>();
        (int records, int bad, int tooLong, int truncated) = (0, 0, 0, 0);
        foreach (DataRow row in RowReader.Read(config.Files, baseDirectory, config.MaxRecords))
        {
            cancel.ThrowIfCancellationRequested();
            records++;
            TokenizedExample example;
            try
            {
                example = Tokenize(row);
            }
            catch (OpenElmException) when (config.OnBadRecord == BadRecordPolicy.Skip)
            {
                bad++;
                continue;
            }

            if (example.Positions > sequenceLength)
            {
                (tooLong, truncated) = config.OnTooLong == LongExamplePolicy.Truncate ? (tooLong, truncated + 1) : (tooLong + 1, truncated);
                if (Shortened(row, example) is not { } shortened)
                {
                    continue;
                }

                example = shortened;
            }

            examples.Add(example);
        }

        return examples.Count > 0
            ? new ExampleSet(examples.ToImmutable(), new ExampleStatistics(records, bad, tooLong, truncated))
            : throw new OpenElmException($"No example is left of the {records} records of {string.Join(", ", config.Files)}: {bad} are bad and {tooLong} too long.");
    }

    /// <summary>One record as an example, however long.</summary>
    internal TokenizedExample Tokenize(DataRow row)
    {
        ExampleText text;
        try
        {
            text = Write(row);
            text = config.CleanUp ? text.Cleaned() : text;
        }
        catch (OpenElmException wrong) when (!wrong.Message.StartsWith(row.File, StringComparison.Ordinal))
        {
            throw row.Wrong($"cannot become text: {wrong.Message}", wrong);
        }

        var example = Tokenize(text, $"{row.File} row {row.Number}");
        return example.Ids.Length >= 2 && example.Targets > 0 ? example : throw row.Wrong("gives no token that the loss could look at.");
    }

    TokenizedExample Tokenize(ExampleText text, string origin)
    {
        TokenizerOptions options = OptionsFor(text.Text);
        if (config.LossOn == LossScope.Everything)
        {
            int[] ids = tokenizer.Encode(text.Text, options);
            return new([.. ids], [.. Enumerable.Repeat(true, ids.Length)], origin);
        }

        IReadOnlyList<EncodedPiece> pieces = tokenizer.EncodeWithOffsets(text.Text, options);
        return new([.. pieces.Select(piece => piece.Id)], [.. pieces.Select(piece => text.Responses.Any(response => IsIn(piece, response, text.Text.Length)))], origin);
    }

    ExampleText Write(DataRow row)
    {
        if (config.Records == RecordKind.Messages)
        {
            return Chat(ChatRecord.Of(row).Messages);
        }

        var record = InstructionRecord.Of(row);
        return template is null ? ExampleText.Of(record) : Chat(record.Messages);
    }

    ExampleText Chat(ImmutableArray<ChatMessage> messages) => ExampleText.Of(messages, template!, tokenizer, findResponses: config.LossOn == LossScope.Responses);

    // A chat template writes its own EOS, and perhaps BOS; the other has neither (openelm.md 8.1).
    TokenizerOptions OptionsFor(string text)
    {
        bool hasBos = tokenizer.BosId >= 0, hasEos = tokenizer.EosId >= 0;
        return template is null
            ? new TokenizerOptions { AddBos = hasBos, AddEos = hasEos }
            : new TokenizerOptions { RecognizeSpecialPieces = true, AddBos = hasBos && !text.StartsWith(tokenizer.PieceOf(tokenizer.BosId), StringComparison.Ordinal) };
    }

    // A piece across the border holds characters of the response. Pieces without characters (a blank that the tokenizer puts in
    // front, bytes of a character) belong to what follows them, and EOS to what it ends.
    static bool IsIn(EncodedPiece piece, (int Start, int End) response, int textLength) => piece.Length > 0
        ? piece.Offset + piece.Length > response.Start && piece.Offset < response.End
        : piece.Offset >= response.Start && (piece.Offset < response.End || piece.Offset == textLength);

    TokenizedExample? Shortened(DataRow row, TokenizedExample example)
    {
        switch (config.OnTooLong)
        {
            case LongExamplePolicy.Fail:
                throw row.Wrong($"has {example.Ids.Length} tokens, and a sequence holds {sequenceLength + 1}; raise data.sequence_length, or set data.on_too_long to truncate or skip.");
            case LongExamplePolicy.Truncate:
                TokenizedExample cut = example with { Ids = example.Ids[..(sequenceLength + 1)], InLoss = example.InLoss[..(sequenceLength + 1)] };
                return cut.Targets > 0 ? cut : throw row.Wrong($"has its response behind the first {sequenceLength + 1} tokens, so cutting leaves nothing to learn; raise data.sequence_length or set data.on_too_long to skip.");
            default:
                return null;
        }
    }
}
