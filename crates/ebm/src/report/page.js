"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  button.hidden = false;
  button.onclick = () => { root.dataset.theme = dark() ? "light" : "dark"; };

  const short = v => v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6) ? v.toExponential(3) : String(Number(v.toPrecision(4)));
  // The place in a rising list that is nearest to a number.
  const nearest = (list, x) => {
    let low = 0, high = list.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (list[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(list[low] - x) <= Math.abs(list[high] - x) ? low : high;
  };
  const charts = [...document.querySelectorAll("figure.curve")].map(figure => {
    const plot = figure.querySelector(".plot"), tell = figure.querySelector(".tell");
    const { share, steps, lines } = JSON.parse(figure.querySelector("script").textContent);
    const line = Object.assign(document.createElement("div"), { className: "line", hidden: true });
    plot.append(line);
    return { plot, tell, line, share, steps, lines };
  });
  // All charts tell of one update, wherever the pointer is.
  const show = step => {
    for (const { tell, line, share, steps, lines } of charts) {
      const at = (step - steps[0]) / (steps[1] - steps[0]);
      line.hidden = step === null || !(at >= 0 && at <= 1);
      line.style.left = `${100 * (share[0] + at * (share[1] - share[0]))}%`;
      const said = line.hidden ? [] : lines.map(([name, x, y]) => {
        const i = nearest(x, step);
        return `${name} ${short(y[i])} (update ${x[i]})`;
      });
      tell.textContent = said.join(" · ") || "\u00a0";
    }
  };
  for (const { plot, share, steps } of charts) {
    plot.onpointermove = event => {
      const box = plot.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width - share[0]) / (share[1] - share[0]);
      show(at >= 0 && at <= 1 ? steps[0] + at * (steps[1] - steps[0]) : null);
    };
    plot.onpointerleave = () => show(null);
  }
  document.body.dataset.paper = getComputedStyle(document.body).backgroundColor;
  document.body.dataset.ready = "yes";
})();
