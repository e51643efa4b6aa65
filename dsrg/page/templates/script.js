"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  // Sliders between a photograph and what lies over it.
  const slide = (range) => {
    const box = range.closest(".compare");
    box.style.setProperty("--cut", `${range.value}%`);
    // A name stands on its own side only, while there is room for it.
    box.classList.toggle("no-left", range.value < 20);
    box.classList.toggle("no-right", range.value > 80);
    range.setAttribute("aria-valuetext", `photograph on ${range.value} % of the width`);
  };
  for (const range of all(".compare input[type=range]")) {
    slide(range);
    range.addEventListener("input", () => slide(range));
  }

  // The layer of one photograph, or of all of them.
  const lay = (card, name) => {
    const thumb = card.querySelector(`.thumb[data-layer="${name}"]`);
    if (!thumb || thumb.disabled) return;
    for (const other of all(".thumb", card)) other.setAttribute("aria-pressed", String(other === thumb));
    card.querySelector(".compare .layer").className = `layer ${name}`;
    for (const label of all(".layer-name", card)) label.textContent = thumb.dataset.title;
    const range = card.querySelector("input[type=range]");
    range.setAttribute("aria-label", `${range.dataset.photo}: photograph left, ${thumb.dataset.title} right`);
  };
  for (const thumb of all(".thumb")) {
    thumb.addEventListener("click", () => lay(thumb.closest(".card"), thumb.dataset.layer));
  }
  for (const radio of all("input[name=layer]")) {
    radio.addEventListener("change", () => all(".card").forEach((card) => lay(card, radio.value)));
  }
  for (const strength of all("#strength")) {
    const show = () => {
      document.documentElement.style.setProperty("--strength", strength.value / 100);
      document.querySelector("#strength-value").textContent = `${strength.value} %`;
    };
    strength.addEventListener("input", show);
    show();
  }

  // Values under the pointer, or at the position that the arrow keys move.
  const tip = document.querySelector("#tip");
  const place = (x, y) => {
    tip.hidden = false;
    const left = Math.min(Math.max(4, x + 14), document.documentElement.clientWidth - tip.offsetWidth - 4);
    const above = y - tip.offsetHeight - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 4 ? y + 18 : above}px`;
  };
  const line = (words, colour) => {
    const row = document.createElement("div");
    if (colour) {
      const key = document.createElement("i");
      key.className = `key s${colour}`;
      row.append(key);
    }
    row.append(words);
    return row;
  };
  const number = (value, percent) =>
    percent ? `${(100 * value).toPrecision(3)} %` : String(Number(value.toPrecision(4)));
  const chart = (plot) => {
    const data = JSON.parse(plot.dataset.chart);
    const cursor = plot.querySelector(".cursor");
    const field = plot.querySelector(".field");
    let index = data.x.length - 1;
    const show = (next, x, y) => {
      index = Math.min(Math.max(0, next), data.x.length - 1);
      const share = data.x[index] / data.right;
      const box = field.getBoundingClientRect();
      cursor.hidden = false;
      cursor.style.left = `${100 * share}%`;
      const rows = data.lines.map((one) => line(`${one.name} ${number(one.y[index], data.percent)}`, one.colour));
      tip.replaceChildren(line(`iteration ${data.x[index].toLocaleString("en")}`), ...rows);
      place(x ?? box.left + share * box.width, y ?? box.top + 24);
    };
    const hide = () => {
      cursor.hidden = true;
      tip.hidden = true;
    };
    plot.addEventListener("pointermove", (event) => {
      const box = field.getBoundingClientRect();
      const wanted = ((event.clientX - box.left) / box.width) * data.right;
      let nearest = 0;
      data.x.forEach((x, at) => {
        if (Math.abs(x - wanted) < Math.abs(data.x[nearest] - wanted)) nearest = at;
      });
      show(nearest, event.clientX, event.clientY);
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("focus", () => plot.matches(":focus-visible") && show(index));
    plot.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -data.x.length, End: data.x.length };
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      show(index + steps[event.key]);
    });
  };
  all("[data-chart]").forEach(chart);
  for (const bar of all("[data-tip]")) {
    bar.addEventListener("pointermove", (event) => {
      tip.replaceChildren(line(bar.dataset.tip));
      place(event.clientX, event.clientY);
    });
    bar.addEventListener("pointerleave", () => {
      tip.hidden = true;
    });
  }
  addEventListener("scroll", () => (tip.hidden = true), { passive: true });

  // The configuration: what contains the words sought, and differs from the defaults where that is asked for.
  const search = document.querySelector("#search");
  const changed = document.querySelector("#changed");
  const sections = all("#configuration details");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const section of sections) {
      let matching = 0;
      for (const row of all("tbody tr", section)) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word)) || (changed.checked && !row.matches(".changed"));
        matching += !row.hidden;
      }
      section.hidden = matching === 0;
      if (words.length) section.open = matching > 0;
      shown += matching;
    }
    document.querySelector("#found").textContent = `${shown} ${shown === 1 ? "key" : "keys"}`;
  };
  search.addEventListener("input", filter);
  changed.addEventListener("change", filter);
  document.querySelector("#open-all").addEventListener("click", () => sections.forEach((one) => (one.open = true)));
  document.querySelector("#close-all").addEventListener("click", () => sections.forEach((one) => (one.open = false)));
  filter();
})();
