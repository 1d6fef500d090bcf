using System.Collections.Immutable;

namespace OpenElm.Yaml.Tests;

public sealed class StrictYamlTests
{
    public enum Precision
    {
        Fp32,
        Autocast,
        Bf16,
    }

    public sealed record Optimizer
    {
        public double LearningRate { get; init; } = 1e-3;

        public float Epsilon { get; init; } = 1e-8f;
    }

    public sealed record Trainer : IValidated
    {
        public required long MaxSteps { get; init; }

        public int? SaveInterval { get; init; }

        public Precision Precision { get; init; }

        public bool UseEma { get; init; }

        public Optimizer Optimizer { get; init; } = new();

        public void Validate(string path, List<string> problems)
        {
            problems.Require(MaxSteps >= 1, path, "max_steps", $"is {MaxSteps}; it must be at least 1.");
            problems.Require(SaveInterval is null or > 0, path, "save_interval", $"is {SaveInterval}; it must be positive.");
        }
    }

    public sealed record Source
    {
        public required string Path { get; init; }

        public double Weight { get; init; } = 1;
    }

    public sealed record Run
    {
        public required string Name { get; init; }

        public required Trainer Trainer { get; init; }

        public ImmutableArray<Source> Sources { get; init; } = [];

        public ImmutableArray<int> Stages { get; init; }

        public ImmutableDictionary<string, double> Limits { get; init; } = ImmutableDictionary<string, double>.Empty;

        public string? Note { get; init; }

        public Range Width { get; init; } = new(1, 1);

        public int Doubled => Stages.Length * 2; // computed: no key
    }

    public sealed record Range(double From, double To);

    static readonly YamlConverters Converters = YamlConverters.None.With(
        plain => plain switch
        {
            long one => new Range(one, one),
            double one => new Range(one, one),
            IReadOnlyList<object?> { Count: 2 } pair => new Range(Convert.ToDouble(pair[0]), Convert.ToDouble(pair[1])),
            _ => throw new OpenElmException("must be a number or a pair."),
        },
        range => range.From == range.To ? range.From : new object[] { range.From, range.To });

    const string Complete = """
        name: small
        trainer:
          max_steps: 100
          save_interval: 10
          precision: bf16
          use_ema: true
          optimizer: { learning_rate: 1e-6, epsilon: .5 }
        sources:
          - path: a.jsonl
          - path: "b: c.jsonl"
            weight: 2
        stages: [1, 2]
        limits: { loss: 3.5, norm: 1 }
        width: [0.5, 4.0]

        """;

    [Fact]
    public void Every_kind_of_value_is_bound()
    {
        Run run = Parse(Complete);
        Assert.Equal("small", run.Name);
        Assert.Equal(
            new Trainer
            {
                MaxSteps = 100,
                SaveInterval = 10,
                Precision = Precision.Bf16,
                UseEma = true,
                Optimizer = new Optimizer { LearningRate = 1e-6, Epsilon = 0.5f },
            },
            run.Trainer);
        Assert.Equal([new Source { Path = "a.jsonl" }, new Source { Path = "b: c.jsonl", Weight = 2 }], run.Sources);
        Assert.Equal([1, 2], run.Stages);
        Assert.Equal((3.5, 1), (run.Limits["loss"], run.Limits["norm"]));
        Assert.Equal(new Range(0.5, 4), run.Width);
        Assert.Null(run.Note);
    }

    [Fact]
    public void All_problems_are_reported_at_once_with_file_line_and_path()
    {
        const string yaml = """
            nam: small
            trainer:
              max_steps: many
              max_steps: 5
              precision: bf61
              use_ema: "true"
              optimizer:
                learning_rte: 0.1
                epsilon: [1]
            sources:
              - weight: 3
              - 7
            stages: 5
            limits: { loss: high }
            width: [1, 2, 3]
            """;
        Assert.Equal(
            """
            The configuration run.yaml is not valid:
              run.yaml:1: nam is not a known key; did you mean name?
              run.yaml:1: name is missing.
              run.yaml:3: trainer.max_steps must be a whole number, but is many.
              run.yaml:4: max_steps stands here again; it was first written in line 3. Remove one.
              run.yaml:5: trainer.precision is bf61, which it cannot be; did you mean bf16?
              run.yaml:6: trainer.use_ema must be true or false, but is the text "true".
              run.yaml:8: trainer.optimizer.learning_rte is not a known key; did you mean learning_rate?
              run.yaml:9: trainer.optimizer.epsilon must be a number, but is a list.
              run.yaml:11: sources.0.path is missing.
              run.yaml:12: sources.1 must be a section with keys, but is 7.
              run.yaml:13: stages must be a list, but is 5.
              run.yaml:14: limits.loss must be a number, but is high.
              run.yaml:15: width must be a number or a pair.
            """.ReplaceLineEndings("\n"),
            MessageOf(yaml));
    }

    [Fact]
    public void Impossible_values_get_the_line_of_their_key()
    {
        string message = MessageOf("name: x\ntrainer:\n  save_interval: 0\n  max_steps: -1\n");
        Assert.Contains("run.yaml:3: trainer.save_interval is 0; it must be positive.", message);
        Assert.Contains("run.yaml:4: trainer.max_steps is -1; it must be at least 1.", message);
    }

    [Fact]
    public void An_impossible_value_does_not_hide_that_sections_contradict_each_other()
    {
        string message = Assert.Throws<OpenElmException>(() => StrictYaml.Parse<Outer>("inner: { size: -1 }\nlimit: 5", "run.yaml")).Message;
        Assert.Contains("run.yaml:1: inner.size is -1; it must be 0 or more.", message);
        Assert.Contains("run.yaml:2: limit is 5; it must be at most inner.size (-1).", message);
    }

    public sealed record Outer : IValidated
    {
        public required Inner Inner { get; init; }

        public int Limit { get; init; }

        public void Validate(string path, List<string> problems) =>
            problems.Require(Limit <= Inner.Size, path, "limit", $"is {Limit}; it must be at most inner.size ({Inner.Size}).");
    }

    public sealed record Inner : IValidated
    {
        public int Size { get; init; }

        public void Validate(string path, List<string> problems) => problems.Require(Size >= 0, path, "size", $"is {Size}; it must be 0 or more.");
    }

    [Theory]
    [InlineData("trainer.max_steps=1.5", "trainer.max_steps must be a whole number")]
    [InlineData("trainer.max_steps=1e3", "trainer.max_steps must be a whole number")]
    [InlineData("trainer.save_interval=9999999999", "trainer.save_interval must be a whole number below 2^31")]
    [InlineData("trainer.max_steps=", "trainer.max_steps must be a whole number, but is empty")]
    [InlineData("trainer.max_steps=0", "trainer.max_steps is 0; it must be at least 1.")]
    [InlineData("trainer.optimizer.learning_rate=NaN", "trainer.optimizer.learning_rate must be a number, but is NaN")]
    [InlineData("trainer.maxsteps=3", "trainer.maxsteps is not a known key; did you mean max_steps?")]
    [InlineData("name=~", "name must be text, but is empty")]
    [InlineData("sources.2.path=x", "2 is no item of a list of 2")]
    [InlineData("name.first=x", "first cannot be set inside small")]
    [InlineData("stages=[1, 2", "is not valid YAML")]
    public void A_wrong_override_is_reported_as_such(string setting, string expected)
    {
        string message = MessageOf(Complete, setting);
        Assert.Contains($"override {setting.Split('=')[0]}: ", message);
        Assert.Contains(expected, message);
    }

    [Theory]
    [InlineData("trainer.max_steps")]
    [InlineData("=3")]
    [InlineData("trainer..max_steps=3")]
    public void An_override_without_path_or_value_is_refused(string setting) =>
        Assert.Contains("write it as path=value", MessageOf(Complete, setting));

    [Fact]
    public void Overrides_win_over_the_file_and_the_last_one_over_earlier_ones()
    {
        Run run = Parse(
            Complete, "trainer.max_steps=3", "trainer.max_steps=4", "sources.1.path=z=1.jsonl", "stages=[7]", "note=a note", "trainer.save_interval=null",
            "limits.extra=2");
        Assert.Equal(4, run.Trainer.MaxSteps);
        Assert.Null(run.Trainer.SaveInterval);
        Assert.Equal(["a.jsonl", "z=1.jsonl"], run.Sources.Select(s => s.Path));
        Assert.Equal([7], run.Stages);
        Assert.Equal("a note", run.Note);
        Assert.Equal(3, run.Limits.Count);
    }

    [Fact]
    public void An_override_may_make_a_section_that_the_file_lacks() =>
        Assert.Equal(0.25, Parse("name: x\ntrainer: { max_steps: 1 }", "trainer.optimizer.learning_rate=0.25").Trainer.Optimizer.LearningRate);

    [Fact]
    public void Anchors_and_merge_keys_work_and_an_override_changes_one_use_only()
    {
        const string yaml = """
            _anchor_weight: &w 3
            x-source: &source { path: base.jsonl, weight: *w }
            name: x
            trainer: { max_steps: 1 }
            sources:
              - *source
              - <<: *source
                path: own.jsonl
              - *source
            """;
        Run run = Parse(yaml, "sources.0.weight=9");
        Assert.Equal([("base.jsonl", 9.0), ("own.jsonl", 3.0), ("base.jsonl", 3.0)], run.Sources.Select(s => (s.Path, s.Weight)));
    }

    [Fact]
    public void An_anchor_key_below_the_top_level_is_not_ignored() =>
        Assert.Contains("trainer._anchor_x is not a known key", MessageOf("name: x\ntrainer: { max_steps: 1, _anchor_x: 2 }"));

    [Theory]
    [InlineData("name: ]\ntrainer: 1", "run.yaml:1: this is not valid YAML")]
    [InlineData("name: x\ntrainer: *missing", "run.yaml:2: this is not valid YAML: ")]
    [InlineData("- a", "run.yaml:1: the document must be a section with keys, but is a list.")]
    [InlineData("", "run.yaml:1: trainer is missing.")]
    [InlineData("name: x\n---\nname: y", "run.yaml:2: a second document begins here")]
    public void What_is_no_configuration_is_refused(string yaml, string expected) => Assert.Contains(expected, MessageOf(yaml));

    [Fact]
    public void A_missing_file_is_named() =>
        Assert.Contains("no-such.yaml", Assert.Throws<OpenElmException>(() => StrictYaml.Read<Run>("no-such.yaml")).Message);

    [Fact]
    public void What_is_written_binds_to_an_equal_record()
    {
        Trainer trainer = new()
        {
            MaxSteps = long.MaxValue,
            Precision = Precision.Autocast,
            Optimizer = new Optimizer { LearningRate = double.Epsilon, Epsilon = 1f / 3 },
        };
        Assert.Equal(trainer, StrictYaml.Parse<Trainer>(StrictYaml.Write(trainer), "written"));

        Run run = Parse(Complete, "note='null'", "limits.most=.inf", "name='# 1: \"x\"'");
        string written = StrictYaml.Write(run, Converters);
        Run again = Parse(written);
        Assert.Equal(written, StrictYaml.Write(again, Converters));
        Assert.Equal((run.Name, run.Trainer, run.Width, run.Note), (again.Name, again.Trainer, again.Width, again.Note));
        Assert.Equal(run.Sources, again.Sources);
        Assert.Equal(run.Stages, again.Stages);
        Assert.Equal(run.Limits.OrderBy(l => l.Key), again.Limits.OrderBy(l => l.Key));
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("true")]
    [InlineData("1e5")]
    [InlineData("a: b")]
    [InlineData("#c")]
    [InlineData(" lead")]
    [InlineData("two\nlines\n")]
    [InlineData("tab\tü\u0001")]
    [InlineData("*a")]
    [InlineData("- x")]
    [InlineData("<<")]
    public void Any_text_survives_writing(string text)
    {
        var source = new Source { Path = text };
        Assert.Equal(source, StrictYaml.Parse<Source>(StrictYaml.Write(source), "written"));
    }

    [Fact]
    public void An_array_never_set_is_written_as_an_empty_list() =>
        Assert.Empty(Parse(StrictYaml.Write(Parse("name: x\ntrainer: { max_steps: 1 }"), Converters)).Stages);

    [Theory]
    [InlineData("", "", 0)]
    [InlineData("abc", "", 3)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("max_stpes", "max_steps", 2)]
    public void Spelling_distance_counts_changes(string a, string b, int expected) => Assert.Equal(expected, Spelling.Distance(a, b));

    static Run Parse(string yaml, params string[] overrides) => StrictYaml.Parse<Run>(yaml, "run.yaml", overrides, Converters);

    static string MessageOf(string yaml, params string[] overrides) =>
        Assert.Throws<OpenElmException>(() => Parse(yaml, overrides)).Message.ReplaceLineEndings("\n");
}
