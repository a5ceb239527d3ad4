"""What pages and plots look like: the dashboard's colours, light and dark. Nothing is told by colour alone."""

import base64
import hashlib
from typing import Final

COLOURS: Final = """
:root { color-scheme: light dark;
  --ground: #f4f6f8; --card: #fff; --text: #16202a; --dim: #566573; --edge: #d9e0e6; --grid: #e8edf1; --accent: #0b5c8f; --a: #0072b2;
  --high: #7fb0d0; --band: #cfe3f1; --expected: #5b93b8; --none: #66788a;
  --critical: #c0392b; --warning: #d98200; --info: #2e86c1; --critical-text: #9b1c12; --warning-text: #7a4a00; --info-text: #145a8a;
  --critical-tint: #fdecea; --warning-tint: #fff4e0; --info-tint: #e8f3fb; --good-text: #00674a; --good-tint: #e3f5ee; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0f151b; --card: #171f27; --text: #e6edf3; --dim: #9aa9b7; --edge: #2b3742; --grid: #222d37; --accent: #7cc4f0; --a: #56b4e9;
  --high: #3d6f8f; --band: #1b3a50; --expected: #5f92b3; --none: #8597a8;
  --critical: #ff6b57; --warning: #f0ad2e; --info: #56b4e9; --critical-text: #ff9d8f; --warning-text: #f5c469; --info-text: #8ccdf5;
  --critical-tint: #3a1a17; --warning-tint: #33270f; --info-tint: #13293a; --good-text: #63d9b2; --good-tint: #10302a; } }
@media print { :root { color-scheme: light; } }
"""

PLOT: Final = """
svg.plot { display: block; width: 100%; height: auto; font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.plot text { fill: var(--dim); }
.plot .title { fill: var(--text); font-size: 14px; font-weight: 650; }
.plot .y { text-anchor: end; dominant-baseline: middle; }
.plot .x { text-anchor: middle; }
.plot .name { fill: var(--text); }
.plot .grid { stroke: var(--grid); } .plot .axis { stroke: var(--edge); }
.plot .day { stroke: var(--edge); }
.plot .band { fill: var(--band); }
.plot .expected { fill: none; stroke: var(--expected); stroke-width: 1; stroke-dasharray: 4 3; }
.plot .value { fill: none; stroke: var(--a); stroke-width: 1.6; stroke-linejoin: round; }
.plot .point { fill: var(--a); }
.plot .high { fill: none; stroke: var(--high); stroke-width: 1; stroke-linejoin: round; }
.plot .swatch { stroke: none; }
.plot .lane { fill: var(--grid); }
.plot .told { opacity: .16; }
.plot .critical { fill: var(--critical); } .plot .warning { fill: var(--warning); } .plot .info { fill: var(--info); }
.plot .mark { stroke: var(--card); stroke-width: 1; }
.plot .change { stroke: var(--dim); stroke-dasharray: 2 3; }
"""

PAGE: Final = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.4rem 1.2rem 3rem; }
h1 { font-size: 1.35rem; margin: 0; letter-spacing: -.01em; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: .1rem 0 .5rem; } p { margin: .35rem 0; }
.dim, .note { color: var(--dim); } .note { font-size: .9em; }
.lead { font-size: 1.12rem; margin: .8rem 0; max-width: 62rem; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: .8rem 1rem; margin: .7rem 0; }
.scroll { overflow-x: auto; } .scroll svg.plot { min-width: 720px; }
figure { margin: .7rem 0; }
figcaption { font-weight: 620; overflow-wrap: anywhere; } figcaption .dim { font-weight: 400; margin-left: .6rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tile { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: .6rem .9rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; font-weight: 640; }
.tile span { color: var(--dim); font-size: .87em; }
table { border-collapse: collapse; width: 100%; font-size: .93em; }
th { text-align: left; color: var(--dim); font-weight: 550; white-space: nowrap; }
th, td { padding: .32rem .7rem .32rem 0; vertical-align: top; }
tbody tr { border-top: 1px solid var(--edge); } td { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.t { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.w { min-width: 20rem; }
.sev { display: inline-block; padding: 0 .5rem; border-radius: 99px; font-size: .86em; font-weight: 600; white-space: nowrap; }
.sev.critical { background: var(--critical-tint); color: var(--critical-text); }
.sev.warning { background: var(--warning-tint); color: var(--warning-text); }
.sev.info { background: var(--info-tint); color: var(--info-text); }
.notice { border-left: 5px solid var(--warning); background: var(--warning-tint); color: var(--warning-text);
  border-radius: 8px; padding: .5rem .9rem; }
.good { border-left-color: var(--good-text); background: var(--good-tint); color: var(--good-text); }
summary { cursor: pointer; color: var(--accent); padding: .3rem 0; }
@media (max-width: 640px) { main { padding: 1rem .7rem 2rem; } .card { padding: .6rem .7rem; } }
@media print { body { background: #fff; } .card, .tile, figure { break-inside: avoid; } }
"""


def policy(style: str) -> str:
    """The content security policy of a page whose only active content is this style: nothing is fetched, nothing runs."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
