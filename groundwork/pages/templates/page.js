"use strict";
{
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // a file:// page may have no storage: the choice then lasts as long as the page
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const before = remembered();
  if (before === "light" || before === "dark") root.dataset.theme = before; // before anything is drawn

  const switchTheme = () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    remembered(root.dataset.theme);
  };

  // Rows in the order of one column: numbers, then text; what is missing stands last in any order.
  const inOrder = (rows, column, direction) => {
    const collator = new Intl.Collator(undefined, { numeric: true });
    const keyed = rows.map((row) => {
      const { dataset, textContent } = row.cells[column];
      const isNumber = dataset.value !== undefined;
      const rank = isNumber ? 0 : textContent === "–" ? 2 : 1;
      return { row, rank, value: isNumber ? Number(dataset.value) : textContent };
    });
    keyed.sort((one, other) => {
      if (one.rank !== other.rank) return one.rank - other.rank;
      if (one.rank === 0) return direction * (one.value - other.value);
      return direction * collator.compare(one.value, other.value);
    });
    return keyed.map(({ row }) => row);
  };

  // A list of which only the first items are shown; filtered, searched and, as a table, sorted.
  const listing = (box) => {
    let items = [...box.querySelectorAll(".item")];
    if (!items.length) return;
    const parent = items[0].parentNode;
    let shown = Number(box.dataset.shown);
    const search = box.querySelector("input[type=search]");
    const filters = [...box.querySelectorAll("select[data-facet]")];
    const count = box.querySelector(".count");
    const reveal = box.querySelector(".reveal");
    const facets = new Map(items.map((item) => [item, JSON.parse(item.dataset.facets || "{}")]));

    const update = () => {
      const words = search ? search.value.trim().toLocaleLowerCase() : "";
      const wanted = filters
        .filter((filter) => filter.value)
        .map((filter) => [filter.dataset.facet, filter.selectedOptions[0].dataset.name]);
      const matching = items.filter(
        (item) =>
          (!words || item.textContent.toLocaleLowerCase().includes(words)) &&
          wanted.every(([facet, name]) => (facets.get(item)[facet] || []).includes(name)),
      );
      // the others are taken out rather than hidden, so that 20,000 rows are as quick as 20
      const visible = matching.slice(0, shown);
      parent.replaceChildren(...visible);
      const number = (value) => value.toLocaleString("en");
      if (count) {
        count.textContent =
          `${number(visible.length)} of ${number(matching.length)} ${count.dataset.things}`;
      }
      if (reveal) {
        reveal.hidden = matching.length === visible.length;
        reveal.textContent = `Show all ${number(matching.length)}`;
      }
    };
    const sort = (heading) => {
      const ascending = heading.getAttribute("aria-sort")
        ? heading.getAttribute("aria-sort") === "descending"
        : !heading.classList.contains("number"); // numbers begin with the largest
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      items = inOrder(items, heading.cellIndex, ascending ? 1 : -1);
      update();
    };
    search?.addEventListener("input", update);
    for (const filter of filters) filter.addEventListener("change", update);
    reveal?.addEventListener("click", () => { shown = Infinity; update(); });
    for (const button of box.querySelectorAll(".sort")) {
      button.addEventListener("click", () => sort(button.closest("th")));
    }
    update();
  };

  // A tile's answers, beside it and within the window.
  const answers = () => {
    const popover = document.getElementById("answers");
    let current = null;
    const place = () => {
      const [at, size] = [current.getBoundingClientRect(), popover.getBoundingClientRect()];
      const gap = 8;
      const within = (value, room) => Math.max(gap, Math.min(value, room - gap));
      const left = at.left + (at.width - size.width) / 2;
      const below = at.bottom + gap + size.height <= innerHeight;
      const top = below ? at.bottom + gap : at.top - gap - size.height;
      popover.style.left = `${within(left, root.clientWidth - size.width)}px`;
      popover.style.top = `${within(top, innerHeight - size.height)}px`;
    };
    const show = (tile) => {
      current = tile;
      popover.replaceChildren(tile.querySelector(".answers").cloneNode(true));
      popover.hidden = false;
      place();
    };
    const hide = () => {
      current = null;
      popover.hidden = true;
    };
    for (const tile of document.querySelectorAll(".tile[tabindex]")) {
      tile.addEventListener("pointerenter", () => show(tile));
      tile.addEventListener("focus", () => show(tile));
      tile.addEventListener("pointerleave", hide);
      tile.addEventListener("blur", hide);
    }
    addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    addEventListener("scroll", () => { if (current) place(); }, { passive: true });
  };

  const enlarging = () => {
    const dialog = document.getElementById("enlarged");
    for (const button of document.querySelectorAll(".enlarge")) {
      button.addEventListener("click", () => {
        dialog.querySelector(".canvas").replaceChildren(button.querySelector("img").cloneNode());
        dialog.showModal();
      });
    }
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  };

  // The contents mark the section that is being read.
  const contents = () => {
    const links = [...document.querySelectorAll(".contents a")];
    const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
    const mark = () => {
      let current = -1;
      sections.forEach((section, i) => {
        if (section.getBoundingClientRect().top < innerHeight / 3) current = i;
      });
      const end = innerHeight + scrollY >= root.scrollHeight - 2 && scrollY > 0;
      if (end) current = links.length - 1;
      links.forEach((link, i) => {
        if (i === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  };

  addEventListener("DOMContentLoaded", () => {
    document.querySelector(".theme").addEventListener("click", switchTheme);
    document.querySelectorAll(".listing").forEach(listing);
    answers();
    enlarging();
    contents();
  });
}
