"""The tables that `python -m benchmarks.devices` prints."""

from __future__ import annotations

from typing import Any


def tables(result: dict[str, Any]) -> str:
    """The tables in Markdown."""
    height, width = result["size"]
    lines = [
        f"{result['device']}; {result['crops']:,} crops of {height}x{width}, batches of"
        f" {result['batch_size']}, recipe {result['recipe']}",
        "",
        "| fed by | workers | wait at next(), p50; p99 | step, p50 | wait of the whole; within"
        " epochs |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['way']} ({row['asked']}) | {row['num_workers']} | {row['wait_ms_p50']:.3f};"
        f" {row['wait_ms_p99']:.2f} ms | {row['step_ms_p50']:.1f} ms | {row['wait_share']:.2%};"
        f" {row['wait_share_within_epochs']:.2%} |"
        for row in result["waits"]
    ]
    if result["decode"] is not None:
        row = result["decode"]
        lines += [
            "",
            "the device's decoder alone, one host thread:"
            f" {row['crops_per_s']:,.0f} crops/s; a batch {row['batch_ms_p50']:.2f} ms (p50),"
            f" {row['batch_ms_p99']:.2f} ms (p99)",
        ]
    if result["cores"] is not None:
        counts = result["cores"]["counts"]
        lines += [
            "",
            "| engine, crops/s | "
            + " | ".join(f"{count} cores" for count in counts)
            + " | stops at |",
            "| --- |" + " --- |" * (len(counts) + 1),
        ]
        lines += [
            f"| {row['engine']}, {row['work']} | "
            + " | ".join(f"{speed:,.0f}" for speed in row["crops_per_s"])
            + f" | {row['stops_at'] or 'not reached'} |"
            for row in result["cores"]["rows"]
        ]
    lines += ["", *(f"not run: {reason}" for reason in result["not_run"])]
    return "\n".join(lines)
