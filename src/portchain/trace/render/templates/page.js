const find = document.getElementById("find");

function filter() {
  const wanted = find.value.trim().toLowerCase();
  for (const one of document.querySelectorAll("[data-find]"))
    one.hidden = !one.textContent.toLowerCase().includes(wanted);
  for (const one of document.querySelectorAll(".picture .chain"))
    one.classList.toggle("lost", !one.textContent.toLowerCase().includes(wanted));
}

function open() {
  const chosen = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (chosen instanceof HTMLDetailsElement) chosen.open = true;
}

// From a chain in the picture to its hops.
function lead(event) {
  const chain = event.target.closest(".picture .chain");
  if (chain && (event.type === "click" || event.key === "Enter")) location.hash = `chain-${chain.dataset.protocol}-${chain.dataset.place}`;
}

find.addEventListener("input", filter);
addEventListener("click", lead);
addEventListener("keydown", lead);
addEventListener("hashchange", open);
open();
