"""Results as a Markdown table: the median of the rounds of each row, and the least and most of what the row is judged by."""

import statistics

HEADINGS = {
    "cpu_us": "CPU per request, us", "ratio": "of the first row", "rate": "requests/s", "mib_s": "MiB/s", "p50": "p50, ms", "p99": "p99, ms",
    "p999": "p99.9, ms", "pss_mib": "memory (PSS), MiB", "growth_mib": "memory growth at its peak, MiB", "errors": "errors",
    "slept": "sleepers answered", "idle_bytes": "bytes per connection", "p99_alone": "p99 without them, ms", "times": "times that",
    "idle_ms": "CPU of 10 s without a request, ms",
}
DECIMALS = {"cpu_us": 1, "rate": 0, "mib_s": 0, "p50": 2, "p99": 2, "p999": 2, "pss_mib": 1, "growth_mib": 1, "idle_bytes": 0, "p99_alone": 2,
            "times": 2, "slept": 0, "idle_ms": 1, "errors": 0}


def cell(column, runs, first, judged):
    if column == "ratio":
        return f"{statistics.median(run[judged] for run in runs) / first:.2f} x"
    values = [run.get(column) for run in runs]
    if None in values:
        return ""
    if column == "errors":
        return f"{sum(values):,}"
    digits = DECIMALS[column]
    middle = f"{statistics.median(values):,.{digits}f}"
    return f"{middle} ({min(values):,.{digits}f} - {max(values):,.{digits}f})" if column == judged else middle


def table(scenario, results, rounds, seconds, busy_cores):
    """`results`: the runs of each row by its name. The first column that is measured is what rows are judged by."""
    judged = scenario.columns[0]
    lines = [f"### {scenario.title}", "",
             f"`./dev bench {scenario.name} --rounds {rounds} --seconds {seconds}`. Other work on the machine took {busy_cores:.2f} cores meanwhile.", "",
             "| server | " + " | ".join(HEADINGS[column] for column in scenario.columns) + " |",
             "|---|" + "--:|" * len(scenario.columns)]
    first = None
    for name, runs in results.items():
        if not runs:
            lines.append(f"| {name} | cannot do it |" + " |" * (len(scenario.columns) - 1))
            continue
        first = first or statistics.median(run[judged] for run in runs)
        lines.append(f"| {name} | " + " | ".join(cell(column, runs, first, judged) for column in scenario.columns) + " |")
    return "\n".join(lines) + "\n"
