// Draws the page's charts with Plotly, in the page's own colours, and says below a chart what was clicked.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // A string such as "--blue" is a variable of the page.
  const painted = (value) =>
    typeof value === "string" ? (value.startsWith("--") ? colour(value) : value)
    : Array.isArray(value) ? value.map(painted)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, key === "customdata" ? inner : painted(inner)]))
      : value;
  // Plotly reads a little HTML in texts; names are shown as they are.
  const shown = (text) =>
    text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");
  const axis = () => ({ gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true });

  function layoutOf(layout) {
    const drawn = painted(layout);
    for (const name of ["xaxis", "yaxis"]) {
      drawn[name] = { ...axis(), ...drawn[name] };
      if (drawn[name].title) drawn[name].title.text = shown(drawn[name].title.text);
    }
    return {
      margin: { l: 60, r: 16, t: 8, b: 56 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--soft"), font: { color: colour("--ink") }, align: "left" },
      hovermode: "closest", legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      ...drawn,
    };
  }

  function traceOf(trace) {
    const drawn = painted(trace);
    if (drawn.customdata) drawn.hovertext = drawn.customdata.map(shown);
    if (drawn.name) drawn.name = shown(drawn.name);
    if (drawn.text) drawn.text = drawn.text.map(shown);
    return drawn;
  }

  function draw(figure) {
    const views = charts[figure.dataset.chart];
    const view = views[Number(figure.dataset.view || 0)];
    figure.classList.add("drawn");
    const place = figure.querySelector(".live");
    Plotly.react(place, view.data.map(traceOf), layoutOf(view.layout), { responsive: true, displaylogo: false, displayModeBar: false });
    if (!figure.dataset.listens) {
      figure.dataset.listens = "yes";
      place.on("plotly_click", (event) => {
        const text = event.points[0].customdata;
        if (text) figure.querySelector(".pinned").textContent = text;
      });
    }
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")].filter((figure) => charts[figure.dataset.chart]);
  for (const figure of figures) {
    for (const [place, button] of [...figure.querySelectorAll(".views button")].entries()) {
      button.addEventListener("click", () => {
        figure.dataset.view = place;
        figure.querySelector(".pinned").textContent = "";
        figure.querySelectorAll(".views button").forEach((other) => other.setAttribute("aria-pressed", other === button));
        draw(figure);
      });
    }
    draw(figure);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figures.forEach(draw));
})();
