using System.Globalization;
using OpenElm.Data;

namespace OpenElm.Cli;

/// <summary>The output of <c>openelm data inspect</c> for a reader.</summary>
internal static class DataReportText
{
    const int SampleCharacters = 300;

    public static void Write(DataReport report, int sequenceLength, TextWriter output)
    {
        var sources = new TextTable("source", "files", "size", "documents", "characters", "tokens", "bad records");
        foreach (SourceReport source in report.Sources)
        {
            sources.Add(source.FileName, source.Files, Quantity.Bytes(source.Bytes), source.Documents, source.Characters, source.Tokens, source.BadRecords);
        }

        sources.WriteTo(output);
        output.WriteLine();
        output.WriteLine($"One epoch as sequences of {sequenceLength} tokens (padded: share of the sequences' places):");
        var modes = new TextTable("mode", "texts", "too short", "too few tokens", "sequences", "tokens kept", "kept", "dropped", "padded");
        foreach (ModeReport mode in report.Modes)
        {
            modes.Add(mode.Mode.ToString().ToLowerInvariant(), mode.Texts, mode.TextsTooShort, mode.TextsTooFewTokens, mode.Sequences, mode.TokensKept,
                Percent(mode.KeptShare), Percent(mode.DroppedShare), Percent(mode.PaddedShare));
        }

        modes.WriteTo(output);
        foreach (SampleSequence sample in report.Samples)
        {
            output.WriteLine();
            output.WriteLine($"{sample.Origin}, {sample.Tokens} tokens:");
            output.WriteLine(sample.Text.Length <= SampleCharacters ? sample.Text : $"{sample.Text.AsSpan(0, SampleCharacters)} … ({sample.Text.Length - SampleCharacters} more characters)");
        }
    }

    static string Percent(double share) => share.ToString("0.0 %", CultureInfo.InvariantCulture);
}
