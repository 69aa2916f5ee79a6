"""Style sheet of the pages."""

STYLE = """
:root { --ink: #1c2024; --faint: #687076; --line: #e3e6e8; --good: #18794e; --bad: #c62a2f;
  --none: #8b9298; --accent: #0b68cb; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; padding-top: 18px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 26px 0 6px; }
p { max-width: 46em; margin: 8px 0; }
.note { color: var(--faint); font-size: 13.5px; }
.lead { font-size: 17px; }
table { border-collapse: collapse; margin: 14px 0; font-size: 13px;
  font-variant-numeric: tabular-nums; }
th { text-align: right; white-space: nowrap; font-weight: 600; color: var(--faint);
  border-bottom: 1px solid #c6cbcf; padding: 5px 8px; vertical-align: bottom; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 5px 8px;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.scroll { overflow-x: auto; }
.explained td:last-child { text-align: left; white-space: normal; color: var(--faint); }
.figures { display: flex; flex-wrap: wrap; gap: 14px; margin: 20px 0; padding: 0; }
.figure { border: 1px solid var(--line); border-radius: 8px; padding: 12px 18px; min-width: 190px; }
.figure b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; }
.figure span { color: var(--faint); font-size: 13px; display: block; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
svg { display: block; max-width: 100%; height: auto; margin: 8px 0; }
svg text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  fill: var(--ink); }
svg text.faint { fill: var(--faint); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(364px, 1fr));
  gap: 18px 22px; margin: 14px 0; }
.sample { min-width: 0; }
.sample > p { margin: 0 0 6px; font-size: 13.5px; }
.row { display: flex; gap: 8px; flex-wrap: wrap; }
.tile { width: 84px; font-size: 11.5px; line-height: 1.4; color: var(--faint); }
.tile img { width: 84px; height: auto; display: block; border-radius: 4px;
  border: 1px solid var(--line); margin-bottom: 3px; }
.tile b { color: var(--ink); font-weight: 600; }
.pixels img { image-rendering: pixelated; }
.perturbation { display: flex; flex-wrap: wrap; gap: 8px 22px; align-items: flex-start;
  padding: 14px 0; border-bottom: 1px solid var(--line); }
.perturbation > p { width: 100%; margin: 0; font-size: 13.5px; }
@media print { h2 { break-after: avoid; } .sample, .figure { break-inside: avoid; } }
"""
