"""How the report looks: one style sheet, light and dark, wide and narrow, screen and paper."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --ink: #1a1e26; --soft: #5a6372; --line: #e2e6ec;
  --accent: #2457c5; --alarm: #c8352b; --true: #d9861b; --tint: #eef3fe; --faint: #9aa3b0;
  --shadow: 0 1px 2px rgb(20 30 50 / 6%), 0 4px 16px rgb(20 30 50 / 4%);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1318; --card: #171c23; --ink: #e6eaf0; --soft: #9ba6b5; --line: #29303a;
    --accent: #84a9ff; --alarm: #ff7a6e; --true: #e3a24a; --tint: #1b2639; --faint: #8b97a8;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 4rem; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.wrap { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header.wrap { padding-top: 44px; padding-bottom: 20px; }
.brand { color: var(--soft); font-size: .8rem; font-weight: 600; letter-spacing: .09em;
  text-transform: uppercase; }
h1 { margin: .2rem 0 .3rem; font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15;
  letter-spacing: -.02em; }
.sub { margin: 0; color: var(--soft); font-size: 1.05rem; max-width: 46rem; }
nav { position: sticky; top: 0; z-index: 20; border-bottom: 1px solid var(--line);
  background: color-mix(in srgb, var(--ground) 88%, transparent); backdrop-filter: blur(8px); }
nav .wrap { display: flex; gap: 22px; overflow-x: auto; padding-block: 11px; }
nav a { color: var(--soft); font-size: .92rem; font-weight: 500; white-space: nowrap; }
nav a:hover { color: var(--ink); text-decoration: none; }
section { margin: 34px 0; }
h2 { margin: 0 0 .7rem; font-size: 1.3rem; letter-spacing: -.01em; }
h3 { margin: 0; font-size: 1.1rem; }
h4 { margin: 1.3rem 0 .5rem; color: var(--soft); font-size: .82rem; font-weight: 600;
  letter-spacing: .05em; text-transform: uppercase; }
p { margin: .4rem 0; }
.soft, figcaption { color: var(--soft); }
.small { font-size: .87rem; }
.card { padding: 20px 22px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; box-shadow: var(--shadow); }
.card + .card { margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 16px; }
.tiles .card + .card { margin-top: 0; }
.tile { display: flex; flex-direction: column; }
.tile .name { font-size: .92rem; font-weight: 600; }
.tile .value { margin: .15rem 0 .3rem; font-size: 2.1rem; font-weight: 650; line-height: 1.15;
  letter-spacing: -.03em; }
.tile .value.none { color: var(--soft); font-size: 1.25rem; letter-spacing: 0; }
.tile .how { margin-top: auto; padding-top: .7rem; color: var(--soft); font-size: .79rem;
  line-height: 1.4; }
code { font: .86em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th { color: var(--soft); font-size: .8rem; font-weight: 600; text-align: left; }
th, td { padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line); vertical-align: baseline;
  overflow-wrap: break-word; }
th:first-child, td:first-child { min-width: 4.6rem; }
tbody tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
td.n + td:not(.n), th.n + th:not(.n) { padding-left: 18px; }
tr.counts td { background: var(--tint); font-weight: 600; }
tr.counts td:first-child { box-shadow: inset 3px 0 var(--accent); padding-left: 12px; }
tr.aside td { color: var(--soft); }
.badge { display: inline-block; margin-left: .4rem; padding: 0 .5rem; border-radius: 99px;
  background: var(--accent); color: var(--card); font-size: .72rem; font-weight: 600;
  white-space: nowrap; }
.badge.plain { background: none; color: var(--soft); border: 1px solid var(--line); }
.meter { display: inline-block; width: 110px; height: 7px; margin-right: 10px; overflow: hidden;
  border-radius: 4px; background: var(--line); }
.meter i { display: block; height: 100%; background: var(--accent); }
details summary { color: var(--accent); font-size: .9rem; cursor: pointer; }
details { margin-top: 14px; }
dl { display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 6px 22px;
  margin: 0; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; white-space: pre-line; }
.two { display: grid; grid-template-columns: minmax(0, 460px) minmax(0, 1fr); gap: 30px;
  align-items: center; }
.chart { width: 100%; height: 300px; }
.chart.square { height: 420px; }
.head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; }
.keyline { display: none; flex-wrap: wrap; gap: 2px 16px; color: var(--soft); font-size: .85rem; }
.keyline i { display: inline-block; width: 18px; height: 3px; margin-right: 6px;
  vertical-align: middle; background: var(--accent); }
.keyline .t { height: 11px; background: var(--true); opacity: .35; }
.keyline .e { height: 6px; background: var(--alarm); }
.keyline .a { height: 0; background: none; border-top: 2px dashed var(--alarm); }
.readout { min-height: 1.5em; color: var(--soft); font-size: .88rem; }
button.go { padding: 0; border: 0; background: none; color: var(--accent); font: inherit;
  cursor: pointer; }
button.go:hover { text-decoration: underline; }
.keys { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr));
  gap: 16px; }
.key { margin: 0; padding: 12px; border: 1px solid var(--line); border-radius: 10px;
  scroll-margin-top: 5rem; transition: border-color .2s, box-shadow .2s; }
.key.lit { border-color: var(--accent); box-shadow: 0 0 0 3px var(--tint); }
.key .pics { display: grid; grid-template-columns: 3fr 2fr; gap: 10px; align-items: start; }
.key .pics.one { grid-template-columns: 1fr; }
.key img { display: block; width: 100%; height: auto; border-radius: 6px; background: var(--line); }
.key figcaption { margin-top: 8px; font-size: .88rem; }
.key b { color: var(--ink); }
.parts { display: grid; grid-template-columns: fit-content(45%) 1fr max-content; gap: 3px 10px;
  align-items: center; margin-top: 8px; font-size: .82rem; }
.parts .track { height: 6px; border-radius: 3px; background: var(--line); }
.parts .track i { display: block; height: 100%; border-radius: 3px; background: var(--alarm); }
.parts .track i.minus { background: var(--accent); }
.ok { color: var(--accent); } .bad { color: var(--alarm); }
footer { margin: 50px 0 30px; color: var(--soft); font-size: .85rem; }
@media (max-width: 760px) {
  .two { grid-template-columns: minmax(0, 1fr); gap: 12px; }
  .card { padding: 16px; }
  header.wrap { padding-top: 26px; }
  .keyline { display: flex; }
  .chart.square { height: 340px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
}
@media print {
  nav, button { display: none; }
  body { background: #fff; } .card { box-shadow: none; break-inside: avoid; }
}
"""
