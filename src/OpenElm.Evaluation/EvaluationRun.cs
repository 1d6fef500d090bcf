using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Tasks;
using OpenElm.Scoring;

namespace OpenElm.Evaluation;

/// <summary>From tasks with documents to results: all requests of all tasks go to the engine together, so that they share what they can.</summary>
public static class EvaluationRun
{
    /// <summary>Evaluates a model.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="tokenizer">Turns requests into tokens.</param>
    /// <param name="scorer">The model.</param>
    /// <param name="options">How the engine runs.</param>
    /// <param name="cancellation">Stops between two passes; what is done stays in the cache.</param>
    /// <returns>Results in the order of the tasks, and what they cost.</returns>
    /// <exception cref="OpenElmException">A request cannot be scored; task and document are named.</exception>
    public static (ImmutableArray<TaskResult> Results, EngineCounts Counts) Score(
        IReadOnlyList<PreparedTask> tasks, RequestTokenizer tokenizer, IContinuationScorer scorer, EngineOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        ArgumentNullException.ThrowIfNull(tokenizer);
        var requests = new List<TokenizedRequest>();
        foreach (PreparedTask task in tasks)
        {
            foreach (EvaluationItem item in task.Items)
            {
                cancellation.ThrowIfCancellationRequested();
                requests.AddRange(Encode(task.Task, item, tokenizer));
            }
        }

        EngineResult result = EvaluationEngine.Run(requests, scorer, options, cancellation);
        int next = 0;
        return ([.. tasks.Select(task => TaskSummary.Of(task, [.. task.Items.Select(Answer)]))], result.Counts);

        ItemAnswer Answer(EvaluationItem item)
        {
            int first = next;
            next += item.Requests.Length;
            return new ItemAnswer { Scores = result.Scores[first..next], IsTruncated = requests[first..next].Exists(request => request.IsTruncated) };
        }
    }

    /// <summary>Takes scores that another engine gave.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="scores">The scores.</param>
    /// <returns>Results in the order of the tasks.</returns>
    /// <exception cref="OpenElmException">The scores do not fit the requests.</exception>
    public static ImmutableArray<TaskResult> Take(IReadOnlyList<PreparedTask> tasks, ScoreLines scores)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        ArgumentNullException.ThrowIfNull(scores);
        if (tasks.GroupBy(task => task.Task.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new OpenElmException($"{twice.Key} is asked with {string.Join(" and ", twice.Select(task => task.Shots))} examples, which a line of requests or scores cannot tell apart; ask for one suite at a time.");
        }

        ImmutableArray<ImmutableArray<ImmutableArray<ContinuationScore>>> found = scores.Of([.. tasks.Select(task => (task.Task.Name, task.Items))]);
        return [.. tasks.Select((task, i) => TaskSummary.Of(task, [.. found[i].Select(item => new ItemAnswer { Scores = item })]))];
    }

    static IEnumerable<TokenizedRequest> Encode(IEvaluationTask task, EvaluationItem item, RequestTokenizer tokenizer)
    {
        try
        {
            return [.. item.Requests.Select(request => tokenizer.Encode(request, task.Kind))];
        }
        catch (OpenElmException problem)
        {
            throw new OpenElmException($"{task.Name}, document {item.DocumentId}: {problem.Message}", problem);
        }
    }
}
