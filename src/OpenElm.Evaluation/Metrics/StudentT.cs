namespace OpenElm.Evaluation.Metrics;

/// <summary>Student's t distribution: what a mean of few documents may differ by chance.</summary>
internal static class StudentT
{
    /// <summary>The probability of a value at least as far from 0, on either side.</summary>
    /// <param name="t">The statistic.</param>
    /// <param name="freedom">Degrees of freedom; infinity gives the normal distribution.</param>
    public static double TwoSided(double t, double freedom)
    {
        if (double.IsPositiveInfinity(freedom))
        {
            return 2 * NormalTail(Math.Abs(t));
        }

        // I_x(ν/2, 1/2) with x = ν / (ν + t²)
        return RegularizedBeta(freedom / 2, 0.5, freedom / (freedom + t * t));
    }

    /// <summary>The value that chance exceeds with a probability, both sides together.</summary>
    public static double Critical(double probability, double freedom)
    {
        double low = 0, high = 1;
        while (TwoSided(high, freedom) > probability)
        {
            high *= 2;
        }

        for (int i = 0; i < 100; i++)
        {
            double middle = (low + high) / 2;
            (low, high) = TwoSided(middle, freedom) > probability ? (middle, high) : (low, middle);
        }

        return (low + high) / 2;
    }

    // Half minus the density times Σ z^(2k+1) / (2k+1)!!, or far out the density over a continued fraction.
    static double NormalTail(double z)
    {
        double density = Math.Exp(-z * z / 2) / Math.Sqrt(2 * Math.PI);
        double sum = 0;
        if (z < 3)
        {
            for (double term = z, k = 1; term > 1e-18; k += 2)
            {
                sum += term;
                term *= z * z / (k + 2);
            }

            return 0.5 - density * sum;
        }

        for (int k = 200; k > 0; k--)
        {
            sum = k / (z + sum);
        }

        return density / (z + sum);
    }

    /// <summary>The regularised incomplete beta function by Lentz's continued fraction.</summary>
    static double RegularizedBeta(double a, double b, double x)
    {
        if (x is <= 0 or >= 1)
        {
            return x <= 0 ? 0 : 1;
        }

        double front = Math.Exp(LogGamma(a + b) - LogGamma(a) - LogGamma(b) + a * Math.Log(x) + b * Math.Log(1 - x));
        return x < (a + 1) / (a + b + 2) ? front * Fraction(a, b, x) / a : 1 - front * Fraction(b, a, 1 - x) / b;
    }

    static double Fraction(double a, double b, double x)
    {
        const double tiny = 1e-300;
        double c = 1, d = NotZero(1 - (a + b) * x / (a + 1)), result = d = 1 / d;
        for (int m = 1; m <= 10_000; m++)
        {
            double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 / NotZero(1 + even * d);
            c = NotZero(1 + even / c);
            result *= d * c;
            double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            d = 1 / NotZero(1 + odd * d);
            c = NotZero(1 + odd / c);
            result *= d * c;
            if (Math.Abs(d * c - 1) < 1e-15)
            {
                break;
            }
        }

        return result;

        static double NotZero(double value) => Math.Abs(value) < tiny ? tiny : value;
    }

    /// <summary>ln Γ(x) for x &gt; 0: Stirling's series after shifting x beyond 10.</summary>
    static double LogGamma(double x)
    {
        double shift = 0;
        for (; x < 10; x++)
        {
            shift += Math.Log(x);
        }

        double inverse = 1 / x, square = inverse * inverse;
        return (x - 0.5) * Math.Log(x) - x + 0.5 * Math.Log(2 * Math.PI)
            + inverse * (1 / 12.0 - square * (1 / 360.0 - square * (1 / 1260.0 - square / 1680.0))) - shift;
    }
}
