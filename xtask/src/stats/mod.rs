//! Statistics of the verdict: robust means, bootstrap intervals, multiple tests.
