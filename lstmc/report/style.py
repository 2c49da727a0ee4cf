"""The style sheet of the page: light and dark as the reader likes, and for paper."""

STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --panel: #f5f6f8; --ink: #1a1d23; --soft: #555b66; --line: #d3d7de;
  --edge: #7b8494; --recurrent: #dcecf3; --weighted: #f6e7da; --good: #1d6b3a; --bad: #a3201d;
  --bar: #28718f; --accent: #1b4568;
  --p0: #1b4568; --p1: #c4503a; --p2: #3f8f6b; --p3: #8a5aa8; --p4: #b07a14; --p5: #4c9cac; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14161a; --panel: #1e2127; --ink: #e9ebee; --soft: #a9afb9; --line: #3a3f49;
  --edge: #838c9b; --recurrent: #17394a; --weighted: #45301f; --good: #6fce93; --bad: #ff8e86;
  --bar: #5fb0c8; --accent: #9fd0e2;
  --p0: #8ab8da; --p1: #f0916f; --p2: #78c8a2; --p3: #c79be0; --p4: #e2b356; --p5: #5fb0c8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1124px; margin: 0 auto; padding: 28px 32px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 10px; padding-top: 10px; border-top: 1px solid var(--line); }
h3 { font-size: 14px; margin: 22px 0 4px; overflow-wrap: anywhere; }
h3 small, .lead, .note { color: var(--soft); font-weight: normal; }
.lead { margin: 4px 0 18px; overflow-wrap: anywhere; } .note { font-size: 13px; margin: 6px 0; }
nav { margin: 0 0 16px; } nav a { color: var(--accent); margin-right: 16px; font-size: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.cards div { background: var(--panel); border-radius: 8px; padding: 10px 14px; }
.cards b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.cards span { color: var(--soft); font-size: 13px; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 18px;
  font-size: 14px; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, .numbers { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 13px; }
.numbers { margin: 2px 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; }
th, td { text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } thead th { color: var(--soft); white-space: nowrap; }
tbody th { font-weight: 500; overflow-wrap: anywhere; min-width: 130px; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.long { overflow-wrap: anywhere; } tfoot td, tfoot th { border-bottom: 0; font-weight: 600; }
.ok { color: var(--good); font-weight: 600; } .failed { color: var(--bad); font-weight: 600; }
svg { display: block; font-family: inherit; } svg.wide, svg.stack { width: 100%; height: auto; }
figure { margin: 0; } svg.wide { min-width: 620px; }
svg.graph { max-width: 100%; height: auto; margin: 0 auto; }
svg.bar { width: 90px; height: 9px; margin: 3px 0 1px auto; }
svg text { fill: var(--ink); font-size: 12px; }
.box { fill: var(--panel); stroke: var(--edge); stroke-width: 1; }
.recurrent .box { fill: var(--recurrent); } .weighted .box { fill: var(--weighted); }
.pill .box { fill: var(--page); } svg .kind { font-weight: 600; }
svg .size { text-anchor: end; fill: var(--soft); font-size: 11px; }
svg .name { fill: var(--soft); font-size: 10.5px; }
.edge { fill: none; stroke: var(--edge); stroke-width: 1.3; stroke-linejoin: round; }
.arrow { fill: var(--edge); } .frame { fill: none; stroke: var(--edge); stroke-width: .7; }
.map { image-rendering: pixelated; } .mark { stroke: var(--edge); stroke-width: .7; }
.zero { stroke: var(--line); stroke-width: 1; } .line { fill: none; stroke-width: 1.4; }
svg .tick, svg .axis, svg .side { fill: var(--soft); font-size: 11px; }
svg .end, svg .side, svg .symbol { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .symbol { font: italic 17px Georgia, "DejaVu Serif", serif; }
svg .track { fill: var(--panel); } svg .amount { fill: var(--bar); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13px; padding: 0;
  margin: 8px 0; list-style: none; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
footer { margin-top: 44px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { main { padding: 18px 14px; } }
@media print { :root { --page: #fff; --panel: #f3f4f6; --ink: #000; --soft: #444;
    --line: #bbb; --edge: #666; --recurrent: #dcecf3; --weighted: #f6e7da; --good: #0b5127;
    --bad: #8f0f0c; --bar: #28718f; --accent: #000; }
  main { max-width: none; padding: 0; } nav { display: none; } .scroll { overflow: visible; }
  svg.graph, svg.wide { min-width: 0 !important; } svg.graph { max-height: 23cm; }
  h2, h3 { break-after: avoid; }
  figure, tr, svg { break-inside: avoid; } * { print-color-adjust: exact; } }
""" + "\n".join(
    f".hue{i} {{ stroke: var(--p{i % 6}){'; stroke-dasharray: 5 2' if i > 5 else ''} }} "
    f".fill{i} {{ fill: var(--p{i % 6}); background: var(--p{i % 6}) }}"
    for i in range(12)
)
