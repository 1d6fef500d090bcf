using System.Collections.Immutable;

namespace OpenElm.Evaluation.Suites;

/// <summary>A column of a suite.</summary>
/// <param name="Title">The paper's heading.</param>
/// <param name="Task">The task, or the group of tasks, by the harness' name.</param>
/// <param name="Shots">Solved examples before each question.</param>
/// <param name="Metric">The metric that counts.</param>
public sealed record SuiteColumn(string Title, string Task, int Shots, string Metric);

/// <summary>A set of tasks whose mean is reported.</summary>
/// <param name="Name">What <c>--suite</c> calls it.</param>
/// <param name="Title">What the paper calls it.</param>
/// <param name="Columns">The tasks in the paper's order.</param>
public sealed record EvaluationSuite(string Name, string Title, ImmutableArray<SuiteColumn> Columns)
{
    /// <summary>The seven tasks of Figure 1 and Table 4a, without examples.</summary>
    public static EvaluationSuite ZeroShot { get; } = new("zero-shot", "Zero-shot", [
        new("ARC-c", "arc_challenge", 0, "acc_norm"),
        new("ARC-e", "arc_easy", 0, "acc_norm"),
        new("BoolQ", "boolq", 0, "acc"),
        new("HellaSwag", "hellaswag", 0, "acc_norm"),
        new("PIQA", "piqa", 0, "acc_norm"),
        new("SciQ", "sciq", 0, "acc"),
        new("WinoGrande", "winogrande", 0, "acc"),
    ]);

    /// <summary>The OpenLLM leaderboard's five tasks with its examples (Table 4b).</summary>
    public static EvaluationSuite OpenLlm { get; } = new("openllm", "OpenLLM leaderboard", [
        new("ARC-c", "arc_challenge", 25, "acc_norm"),
        new("HellaSwag", "hellaswag", 10, "acc_norm"),
        new("MMLU", "mmlu", 5, "acc"),
        new("TruthfulQA", "truthfulqa_mc2", 0, "mc2"),
        new("WinoGrande", "winogrande", 5, "acc"),
    ]);

    /// <summary>LLM360's tasks, and TruthfulQA, which the paper's table has too (Table 4c).</summary>
    public static EvaluationSuite Llm360 { get; } = new("llm360", "LLM360", [
        new("ARC-c", "arc_challenge", 25, "acc_norm"),
        new("CrowS-Pairs", "crows_pairs_english", 25, "pct_stereotype"),
        new("HellaSwag", "hellaswag", 10, "acc_norm"),
        new("MMLU", "mmlu", 5, "acc"),
        new("PIQA", "piqa", 0, "acc_norm"),
        new("RACE", "race", 0, "acc"),
        new("TruthfulQA", "truthfulqa_mc2", 0, "mc2"),
        new("WinoGrande", "winogrande", 5, "acc"),
    ]);

    /// <summary>The questions of LLM-Adapters in its own wording, for models tuned on commonsense_170k, by log-likelihood: the mode that the paper reports.</summary>
    public static EvaluationSuite Commonsense { get; } = LlmAdapters("commonsense", "Commonsense reasoning (LLM-Adapters)");

    /// <summary>The same questions as LLM-Adapters asks them: the model writes its answer.</summary>
    public static EvaluationSuite CommonsenseGeneration { get; } = LlmAdapters("commonsense-generation", "Commonsense reasoning, written answers (LLM-Adapters)");

    /// <summary>All suites.</summary>
    public static ImmutableArray<EvaluationSuite> All { get; } = [ZeroShot, OpenLlm, Llm360, Commonsense, CommonsenseGeneration];

    /// <summary>Finds a suite.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The suite.</returns>
    /// <exception cref="OpenElmException">There is none of this name.</exception>
    public static EvaluationSuite Find(string name) => All.FirstOrDefault(suite => suite.Name == name)
        ?? throw new OpenElmException($"There is no suite '{name}'; there are {string.Join(", ", All.Select(suite => suite.Name))}.");

    static EvaluationSuite LlmAdapters(string name, string title)
    {
        (string Title, string Set)[] columns = [
            ("ARC-c", "ARC-Challenge"), ("ARC-e", "ARC-Easy"), ("BoolQ", "boolq"), ("HellaSwag", "hellaswag"), ("PIQA", "piqa"), ("SIQA", "social_i_qa"),
            ("WinoGrande", "winogrande"), ("OBQA", "openbookqa")];
        return new EvaluationSuite(name, title, [.. columns.Select(column => new SuiteColumn(column.Title, $"{name.Replace('-', '_')}_{column.Set}", 0, "acc"))]);
    }
}
