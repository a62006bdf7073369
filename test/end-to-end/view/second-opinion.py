"""Computes, from cases on standard input, what the viewer computes, in other ways; prints it as JSON."""

import json
import sys

import numpy as np
from scipy import stats


def self_times(spans):
    """By marking each nanosecond that a child covers."""
    times = []
    for index, (_, start, end) in enumerate(spans):
        covered = np.zeros(max(0, end - start), dtype=bool)
        for parent, child_start, child_end in spans:
            if parent == index:
                covered[max(0, child_start - start):max(0, min(end, child_end) - start)] = True
        times.append(int((~covered).sum()))
    return times


def critical_times(spans, begin, finish):
    """By going back from the end recursively, one span at a time."""
    times = [0] * len(spans)

    def walk(index, start, end):
        until = end
        children = [i for i, (parent, _, _) in enumerate(spans) if parent == index]
        for child in sorted(children, key=lambda i: (-spans[i][2], spans[i][1])):
            first = max(start, spans[child][1])
            last = min(end, spans[child][2])
            if last > until or last <= first:
                continue
            if index >= 0:
                times[index] += until - last
            walk(child, first, last)
            until = first
        if index >= 0:
            times[index] += max(0, until - start)

    walk(-1, begin, finish)
    return times


def clock(intervals):
    low = max((interval[0] for interval in intervals), default=None)
    high = min((interval[1] for interval in intervals), default=None)
    return None if low is None or low > high else [(low + high) / 2, (high - low) / 2]


def holm(values):
    order = np.argsort(values, kind="stable")
    adjusted = np.minimum(1, np.maximum.accumulate((len(values) - np.arange(len(values))) * np.asarray(values)[order]))
    result = np.empty(len(values))
    result[order] = adjusted
    return result.tolist()


cases = json.load(sys.stdin)
json.dump(
    {
        "trees": [
            {"self": self_times(tree["spans"]), "critical": critical_times(tree["spans"], tree["from"], tree["to"])}
            for tree in cases["trees"]
        ],
        "samples": [
            {
                "u": float(test.statistic),
                "p": float(test.pvalue),
                "percentiles": [float(np.percentile(b, q)) for q in (0, 25, 50, 95, 99, 100)],
            }
            for a, b in cases["samples"]
            for test in [stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic", use_continuity=True)]
        ],
        "holm": [holm(values) for values in cases["holm"]],
        "clocks": [clock(intervals) for intervals in cases["clocks"]],
    },
    sys.stdout,
)
