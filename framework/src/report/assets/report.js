// What a report gains where scripts run: sorting of tables, charts to hover over, zoom into and hide series of, light and dark.
"use strict";
(function () {
  const palette = ["#0073b3", "#d65e00", "#009e73", "#cc78a6", "#e69e00", "#56b5e8", "#595959", "#f0e342", "#6b3394", "#8c5729"];
  const colourOf = (i) => palette[i % palette.length];
  const charts = [];

  function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  // ---- tables

  function keyOf(cell) {
    const text = cell.textContent.trim();
    const number = parseFloat(text.replace("+", ""));
    return /^[+-]?\d/.test(text) && !Number.isNaN(number) ? number : text;
  }
  function compareKeys(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a < b ? -1 : a > b ? 1 : 0;
  }
  function sortBy(header) {
    const table = header.closest("table"), body = table.tBodies[0];
    if (!body) return;
    const column = [...header.parentNode.children].indexOf(header);
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
    rows.sort((a, b) => (up ? 1 : -1) * compareKeys(a[0], b[0]));
    for (const [, row] of rows) body.appendChild(row);
  }
  for (const header of document.querySelectorAll("thead th")) {
    header.setAttribute("role", "button");
    header.tabIndex = 0;
    header.addEventListener("click", () => sortBy(header));
    header.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(header); });
  }

  // ---- charts

  /** An exponential moving average without the bias of its beginning. */
  function smoothed(values, weight) {
    if (weight === 0) return values;
    let mean = 0, sum = 0;
    return values.map((value) => {
      if (value === null) return null;
      mean = weight * mean + (1 - weight) * value;
      sum = weight * sum + (1 - weight);
      return mean / sum;
    });
  }

  function datasetsOf(panel, weight) {
    const sets = [];
    let next = 0;
    for (const mark of panel.marks) {
      const colour = colourOf(mark.colour === undefined ? next++ : mark.colour);
      const values = smoothed(mark.y, weight);
      const at = (f) => mark.x.map((x, i) => ({ x: x, y: values[i] === null ? null : f(values[i], i) }));
      const points = mark.style === "points";
      const dash = mark.style === "dashed" ? [6, 4] : mark.style === "dotted" ? [2, 3] : [];
      const name = mark.curve;
      if (mark.spread) {
        const edge = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, backgroundColor: colour + "30", band: name };
        sets.push({ ...edge, data: at((y, i) => y + (mark.spread[i] || 0)), fill: "+1" });
        sets.push({ ...edge, data: at((y, i) => y - (mark.spread[i] || 0)), fill: false });
      }
      sets.push({ label: name, data: at((y) => y), borderColor: colour, backgroundColor: colour, borderDash: dash, borderWidth: points ? 0 : 2,
        showLine: !points, pointRadius: points ? 3 : mark.x.length > 30 ? 0 : 2, pointHitRadius: 6, spanGaps: false });
    }
    return sets;
  }

  function axisOf(axis) {
    const shown = { type: axis.logarithmic ? "logarithmic" : "linear", title: { display: !!axis.title, text: axis.title, color: css("--ink") },
      grid: { color: css("--line") }, ticks: { color: css("--soft") } };
    if (axis.low !== undefined) shown.min = axis.low;
    if (axis.high !== undefined) shown.max = axis.high;
    if (axis.categories) {
      shown.min = -0.5;
      shown.max = axis.categories.length - 0.5;
      shown.ticks = { ...shown.ticks, autoSkip: false, callback: (value) => axis.categories[value] ?? "" };
      shown.afterBuildTicks = (scale) => { scale.ticks = axis.categories.map((_, i) => ({ value: i })); };
    }
    return shown;
  }

  /** Dragging over a chart zooms into it, a double click shows all again. */
  function addZoom(canvas, chart) {
    let from = null;
    canvas.addEventListener("mousedown", (event) => { from = event.offsetX; });
    window.addEventListener("mouseup", (event) => {
      if (from === null) return;
      const to = event.clientX - canvas.getBoundingClientRect().left, begin = from;
      from = null;
      if (Math.abs(to - begin) < 8) return;
      const scale = chart.scales.x;
      chart.options.scales.x.min = scale.getValueForPixel(Math.min(begin, to));
      chart.options.scales.x.max = scale.getValueForPixel(Math.max(begin, to));
      chart.update("none");
    });
    canvas.addEventListener("dblclick", () => {
      Object.assign(chart.options.scales.x, { min: chart.full.min, max: chart.full.max });
      chart.update("none");
    });
  }

  function makeChart(canvas, panel) {
    const chart = new Chart(canvas, {
      type: "line",
      data: { datasets: datasetsOf(panel, 0) },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, parsing: false,
        interaction: { mode: "nearest", axis: "xy", intersect: false },
        plugins: {
          title: { display: !!panel.title, text: panel.title, color: css("--ink") },
          tooltip: { filter: (item) => item.dataset.label !== undefined },
          legend: {
            display: panel.marks.some((mark) => mark.curve),
            labels: { color: css("--ink"), boxWidth: 12, filter: (item) => !!item.text && item.text !== "undefined" },
            onClick: (event, item, legend) => {
              const all = legend.chart.data.datasets, hide = legend.chart.isDatasetVisible(item.datasetIndex);
              all.forEach((set, i) => {
                if (i === item.datasetIndex || (set.band && set.band === all[item.datasetIndex].label)) legend.chart.setDatasetVisibility(i, !hide);
              });
              legend.chart.update("none");
            },
          },
        },
        scales: { x: axisOf(panel.x), y: axisOf(panel.y) },
      },
    });
    chart.panel = panel;
    chart.full = { min: chart.options.scales.x.min, max: chart.options.scales.x.max };
    addZoom(canvas, chart);
    charts.push(chart);
    return chart;
  }

  function addSmoothing(figure, own) {
    const label = document.createElement("label"), slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: 0.95, step: 0.05, value: 0 });
    slider.setAttribute("aria-label", "smoothing");
    slider.addEventListener("input", () => {
      for (const chart of own) {
        const hidden = chart.data.datasets.map((_, i) => !chart.isDatasetVisible(i));
        chart.data.datasets = datasetsOf(chart.panel, parseFloat(slider.value));
        hidden.forEach((is, i) => chart.setDatasetVisibility(i, !is));
        chart.update("none");
      }
    });
    label.append("smoothing ", slider);
    figure.querySelector(".tools").append(label);
  }

  function drawFigure(figure) {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    const data = JSON.parse(figure.querySelector("script").textContent);
    const panels = document.createElement("div"), tools = document.createElement("div");
    panels.className = "panels";
    tools.className = "tools";
    const own = [];
    figure.append(panels, tools);
    for (const panel of data.panels) {
      const box = document.createElement("div"), canvas = document.createElement("canvas");
      box.className = "panel";
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", data.title + " " + panel.title);
      box.append(canvas);
      panels.append(box);
      own.push(makeChart(canvas, panel));
    }
    const image = figure.querySelector("img"), change = document.createElement("button");
    change.textContent = "picture";
    change.addEventListener("click", () => {
      image.hidden = !image.hidden;
      panels.hidden = !image.hidden;
      change.textContent = image.hidden ? "picture" : "chart";
    });
    image.hidden = true;
    tools.append(change, "drag to zoom, double click for all, click a name to hide it");
    if (figure.dataset.smooth) addSmoothing(figure, own);
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  if (window.Chart) {
    if (window.IntersectionObserver && figures.length > 12) {
      const watcher = new IntersectionObserver((seen) => {
        for (const entry of seen) if (entry.isIntersecting) drawFigure(entry.target);
      }, { rootMargin: "400px" });
      figures.forEach((figure) => watcher.observe(figure));
    } else {
      figures.forEach(drawFigure);
    }
  }

  // ---- light and dark

  function recolour() {
    for (const chart of charts) {
      for (const axis of [chart.options.scales.x, chart.options.scales.y]) {
        axis.title.color = css("--ink");
        axis.grid.color = css("--line");
        axis.ticks.color = css("--soft");
      }
      chart.options.plugins.title.color = chart.options.plugins.legend.labels.color = css("--ink");
      chart.update("none");
    }
  }
  const theme = document.createElement("button");
  theme.textContent = "light or dark";
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    recolour();
  });
  document.querySelector("nav").append(theme);
})();
