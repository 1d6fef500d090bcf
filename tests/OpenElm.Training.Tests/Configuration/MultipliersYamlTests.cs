using OpenElm.Configuration;
using OpenElm.Yaml;

namespace OpenElm.Training.Tests.Configuration;

/// <summary>The union "a number, a pair, or one number for each layer" in a file.</summary>
public sealed class MultipliersYamlTests
{
    public sealed record Widths
    {
        public required Multipliers Ffn { get; init; }
    }

    [Theory]
    [InlineData("ffn: 3", 3.0)]
    [InlineData("ffn: 0.5", 0.5)]
    [InlineData("ffn: [0.5, 4]", 0.5, 4.0)]
    [InlineData("ffn: [1, 2, 3.5]", 1.0, 2.0, 3.5)]
    public void Every_form_is_read_and_survives_writing(string yaml, params double[] expected)
    {
        Widths widths = StrictYaml.Parse<Widths>(yaml, "run.yaml");
        Assert.Equal(expected, widths.Ffn.Values);
        Assert.Equal(widths, StrictYaml.Parse<Widths>(StrictYaml.Write(widths), "written"));
    }

    [Theory]
    [InlineData("ffn: wide")]
    [InlineData("ffn: []")]
    [InlineData("ffn: [1, x]")]
    [InlineData("ffn: { min: 1 }")]
    [InlineData("ffn:")]
    public void Other_forms_are_refused(string yaml) =>
        Assert.Contains(
            "run.yaml:1: ffn must be a number, a pair of numbers, or one number for each layer.",
            Assert.Throws<OpenElmException>(() => StrictYaml.Parse<Widths>(yaml, "run.yaml")).Message);
}
