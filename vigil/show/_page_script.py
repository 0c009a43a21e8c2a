"""What moves in the report: curves that zoom, tell their values, and lead to the key frames."""

JS = r"""
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = {responsive: true, displaylogo: false, scrollZoom: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plain = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const clock = s => {
    const tenths = Math.round(s * 10), whole = Math.floor(tenths / 10);
    const two = n => String(n).padStart(2, "0");
    const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
    return (h ? h + ":" + two(m) : m) + ":" + two(whole % 60) + "." + (tenths % 10);
  };
  // Plotly reads a bare number below 10000 as a year, so times go in as text
  const stamp = s => new Date(Math.round(s * 1000)).toISOString().slice(0, -1);
  const rare = score => score < 0.3 ? "an everyday score"
    : "as rare as 1 normal frame in "
      + Math.round(10 ** Math.min(score, 9)).toLocaleString("en") + ", before smoothing";

  function frame(extra) {
    const axis = {gridcolor: colour("--line"), zerolinecolor: colour("--line"),
      linecolor: colour("--line"), automargin: true};
    return Object.assign({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, sans-serif", size: 12, color: colour("--soft")},
      margin: {l: 44, r: 34, t: 30, b: 36}, hovermode: "closest",
      modebar: {orientation: "v", bgcolor: "rgba(0,0,0,0)", color: colour("--faint"),
        activecolor: colour("--accent")},
      hoverlabel: {bgcolor: colour("--card"), bordercolor: colour("--line"),
        font: {color: colour("--ink")}, align: "left"},
      legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"},
    }, extra(axis));
  }

  function spans(list, top) {  // one closed outline for each interval, none between them
    const x = [], y = [];
    for (const [start, stop] of list) {
      x.push(start, start, stop, stop, start, null);
      y.push(0, top, top, 0, 0, null);
    }
    return {x: x.map(s => s === null ? null : stamp(s)), y};
  }

  function videoTraces(v) {
    const when = v.t.map(stamp);
    const about = v.smoothed.map((y, i) =>
      [v.f[i], clock(v.t[i]), y === null ? "" : rare(y)]);
    const line = (y, name, tint, width, more) => Object.assign({
      type: "scatter", mode: "lines", x: when, y, name, yaxis: "y2",
      line: {color: tint, width}, customdata: about, connectgaps: false,
      hovertemplate: plain(name) + " %{y:.2f}<extra></extra>"}, more || {});
    // an axis that another one lies over must never be empty
    const traces = [{type: "scatter", mode: "lines", x: [when[0]], y: [0], hoverinfo: "skip",
      showlegend: false}];
    const area = (list, top, name, fillcolor) => Object.assign(spans(list, top), {name, fillcolor,
      type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", line: {width: 0}});
    if (v.truth && v.truth.length)
      traces.push(area(v.truth, 1, "truly abnormal", colour("--true") + "38"));
    if (v.events.length) traces.push(area(v.events, 0.035, "found event", colour("--alarm")));
    traces.push(line(v.score, "unsmoothed", colour("--faint"), 1,
      {opacity: 0.6, hoverinfo: "skip", hovertemplate: null}));
    Object.entries(v.channels).forEach(([name, y], i) => traces.push(line(y, plain(name),
      ["#3a9d78", "#a06cd5", "#c58a1d", "#4aa3c7", "#b6588f", "#7d8b3a"][i % 6], 1.2,
      {visible: "legendonly"})));
    traces.push(line(v.smoothed, "score", colour("--accent"), 2, {meta: "main", hovertemplate:
      "%{customdata[1]} · frame %{customdata[0]}<br><b>score %{y:.2f}</b><br>"
      + "%{customdata[2]}<extra></extra>"}));
    if (v.threshold !== null) traces.push({type: "scatter", mode: "lines", yaxis: "y2",
      x: [when[0], when[when.length - 1]], y: [v.threshold, v.threshold], hoverinfo: "skip",
      name: "alarm at " + v.threshold.toFixed(2),
      line: {color: colour("--alarm"), width: 1.2, dash: "dash"}});
    if (v.keys.length) traces.push({type: "scatter", mode: "markers", yaxis: "y2",
      x: v.keys.map(k => stamp(k[1])), y: v.keys.map(k => k[2]), name: "picture below",
      marker: {size: 10, color: colour("--card"), line: {color: colour("--accent"), width: 2.5}},
      hoverinfo: "skip"});
    return traces;
  }

  function drawVideo(node) {
    const number = Number(node.dataset.video), v = data.videos[number];
    if (!v.t.length) return;
    const all = v.score.concat(v.smoothed, v.threshold === null ? [] : [v.threshold])
      .filter(y => y !== null);
    const low = Math.min(0, ...all), high = Math.max(0.1, ...all);
    const hours = v.t.length && v.t[v.t.length - 1] >= 3600;
    const layout = frame(axis => ({
      showlegend: node.clientWidth > 620,  // else the page's own stands above
      hovermode: "x", hoverdistance: -1,
      margin: {l: 44, r: 34, t: node.clientWidth > 620 ? 30 : 8, b: 36},
      xaxis: {...axis, type: "date", showgrid: false, hoverformat: "%-H:%M:%S.%1f",
        tickformatstops: [
          {dtickrange: [null, 999], value: (hours ? "%-H:%M:%S" : "%-M:%S") + ".%1f"},
          {dtickrange: [1000, null], value: hours ? "%-H:%M:%S" : "%-M:%S"}]},
      yaxis: {visible: false, range: [0, 1], fixedrange: true},
      yaxis2: {...axis, overlaying: "y", side: "left", fixedrange: true,
        tickmode: "auto", nticks: 6, range: [low, low + (high - low) * 1.1]},
    }));
    const first = !node.dataset.drawn;
    node.dataset.drawn = "1";
    Plotly.react(node, videoTraces(v), layout, config).then(() => {
      if (first) node.on("plotly_click", event =>
        pick(number, event.points.find(point => point.data.meta === "main")));
    });
  }

  function pick(number, point) {
    if (!point) return;
    const [frameNumber, time, note] = point.customdata;
    document.getElementById("readout-" + number).textContent =
      time + " · frame " + frameNumber + " · score " + point.y.toFixed(2)
      + (note ? ": " + note : "");
    const keys = data.videos[number].keys;
    if (!keys.length) return;
    let best = 0;
    keys.forEach((key, i) => {
      if (Math.abs(key[0] - frameNumber) < Math.abs(keys[best][0] - frameNumber)) best = i;
    });
    document.querySelectorAll(".key.lit").forEach(key => key.classList.remove("lit"));
    const card = document.getElementById("key-" + number + "-" + best);
    card.classList.add("lit");
    card.scrollIntoView({block: "nearest", behavior: "smooth"});
  }

  function drawRoc(node) {
    const r = data.roc, points = [
      {type: "scatter", mode: "lines", x: [0, 1], y: [0, 1], name: "guessing", hoverinfo: "skip",
        line: {color: colour("--faint"), width: 1, dash: "dot"}},
      {type: "scatter", mode: "lines", x: r.fpr, y: r.tpr, name: "this model", customdata: r.at,
        line: {color: colour("--accent"), width: 2.5},
        hovertemplate: "alarm from score %{customdata}<br>finds %{y:.1%} of abnormal frames<br>"
          + "rings on %{x:.1%} of normal ones<extra></extra>"}];
    if (r.eer) points.push({type: "scatter", mode: "markers", x: [r.eer[0]], y: [1 - r.eer[0]],
      name: "equal error " + (100 * r.eer[0]).toFixed(1) + " %",
      marker: {size: 12, color: colour("--alarm"), line: {color: colour("--card"), width: 2}},
      hovertemplate: "both errors equal<br>alarm from score " + r.eer[1].toFixed(2)
        + "<extra></extra>"});
    const range = [-0.02, 1.02];
    Plotly.react(node, points, frame(axis => ({
      xaxis: {...axis, range, tickformat: ".0%", title: {text: "false alarms, of normal frames"}},
      yaxis: {...axis, range, tickformat: ".0%", title: {text: "found, of abnormal frames"}}})),
      config);
    node.dataset.drawn = "1";
  }

  const draw = node => node.dataset.video === undefined ? drawRoc(node) : drawVideo(node);
  const plots = document.querySelectorAll(".chart");
  const watch = new IntersectionObserver(seen => seen.forEach(entry => {
    if (entry.isIntersecting && !entry.target.dataset.drawn) draw(entry.target);
  }), {rootMargin: "600px"});
  plots.forEach(node => watch.observe(node));
  dark.addEventListener("change", () =>
    plots.forEach(node => { if (node.dataset.drawn) draw(node); }));
  addEventListener("beforeprint", () => plots.forEach(draw));
  document.querySelectorAll("button.go").forEach(button => button.addEventListener("click", () => {
    const [number, start, stop] = button.dataset.go.split(" ").map(Number);
    const node = document.getElementById("plot-" + number);
    if (!node.dataset.drawn) draw(node);
    const room = Math.max(2, 0.5 * (stop - start));
    Plotly.relayout(node, {"xaxis.range": [stamp(start - room), stamp(stop + room)]});
    node.scrollIntoView({block: "center", behavior: "smooth"});
  }));
})();
"""
