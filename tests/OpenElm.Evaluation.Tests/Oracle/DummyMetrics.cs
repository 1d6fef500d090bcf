using System.Collections.Immutable;
using OpenElm.Evaluation.Tasks;
using OpenElm.Evaluation.Tests.Data;

namespace OpenElm.Evaluation.Tests.Oracle;

/// <summary>The harness' metrics in plain loops, for made-up scores; written from the recipe, apart from the product's own.</summary>
internal static class DummyMetrics
{
    public static Dictionary<string, double> Of(string task, ImmutableArray<EvaluationItem> items, double[][] scores)
    {
        if (task == "wikitext")
        {
            double sum = scores.Sum(s => s[0]), words = items.Sum(item => item.Size.Words), bytes = items.Sum(item => item.Size.Bytes);
            return new()
            {
                ["word_perplexity"] = Math.Exp(-sum / words),
                ["byte_perplexity"] = Math.Exp(-sum / bytes),
                ["bits_per_byte"] = -sum / bytes / Math.Log(2),
            };
        }

        var results = new Dictionary<string, double>();
        void Mean(string name, Func<EvaluationItem, double[], double> value)
        {
            double[] values = [.. items.Select((item, i) => value(item, scores[i]))];
            double mean = values.Average();
            results[name] = mean;
            results[name + "_stderr"] = Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Length - 1) / values.Length);
        }

        if (task == "truthfulqa_mc")
        {
            // The answers of mc1 come first; the product's task knows how many there are.
            int[] count = [.. TaskCatalog.Get("truthfulqa_mc1").Single().Prepare(EvaluationFolder.Required(), new ItemOptions()).Items.Select(item => item.Choices.Length)];
            Mean("mc1", (item, s) => First(s.AsSpan(0, count[item.DocumentId])) == 0 ? 1 : 0);
            Mean("mc2", (item, s) => s[count[item.DocumentId]..].Take(item.TrueChoices).Sum(Math.Exp) / s[count[item.DocumentId]..].Sum(Math.Exp));
            return results;
        }

        Mean("acc", (item, s) => First(s) == item.Gold ? 1 : 0);
        Mean("acc_norm", (item, s) => First([.. s.Select((v, i) => v / item.Choices[i].EnumerateRunes().Count())]) == item.Gold ? 1 : 0);
        return results;
    }

    static int First(ReadOnlySpan<double> values)
    {
        int best = 0;
        for (int i = 1; i < values.Length; i++)
        {
            best = values[i] > values[best] ? i : best;
        }

        return best;
    }
}
