using System.Globalization;

namespace OpenElm.Training.Reporting;

/// <summary>Times as a person reads them.</summary>
public static class Durations
{
    /// <summary>The two largest units: <c>1 d 3 h</c>, <c>2 h 05 min</c>, <c>4 min 09 s</c>, <c>8.3 s</c>.</summary>
    /// <param name="time">The time.</param>
    /// <returns>The text.</returns>
    public static string Format(TimeSpan time)
    {
        if (time.TotalSeconds < 59.95)
        {
            return string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s");
        }

        time = TimeSpan.FromSeconds(Math.Round(time.TotalSeconds)); // 3599.9 s is an hour, not 59 minutes
        return time switch
        {
            { TotalHours: < 1 } => $"{time.Minutes} min {time.Seconds:00} s",
            { TotalDays: < 1 } => $"{time.Hours} h {time.Minutes:00} min",
            _ => $"{time.Days} d {time.Hours} h",
        };
    }
}
